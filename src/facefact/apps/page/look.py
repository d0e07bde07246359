"""How the page looks and what it says: its theme, its style, and its words."""

from __future__ import annotations

import gradio as gr

TITLE = "facefact: portraits of a person"
# What Gradio leaves unsaid to a screen reader: its icons are decoration, and its pictures are what their labels say.
# (A button of its file list says the name of its text in place of the text.)
NAMES = """<script>
(() => {
  let waiting = false;
  const name = () => {
    waiting = false;
    document.querySelectorAll("svg:not([aria-hidden]):not([aria-label])").forEach(
      one => one.setAttribute("aria-hidden", "true"));
    document.querySelectorAll("[aria-label='common.upload']").forEach(one => { one.title = one.ariaLabel = "Upload"; });
    document.querySelectorAll("img:not([alt]), img[alt='']").forEach(one => {
      const label = one.closest(".block")?.querySelector("[data-testid=block-label], label")?.textContent.trim();
      if (label) one.alt = label;
    });
  };
  const soon = () => { if (!waiting) { waiting = true; setTimeout(name, 100); } };
  new MutationObserver(soon).observe(document.documentElement, {childList: true, subtree: true});
  soon();
})();
</script>"""
HEAD = (
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
    + NAMES
)

CSS = """
:root { --color-accent: #1d4ed8; }
.dark { --color-accent: #60a5fa; }
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
#brand h1 { font-size: 1.5rem; margin: .2rem 0 0; }
#brand p { margin: 0 0 .4rem; opacity: .75; }
#consent { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: .6rem .8rem; }
.said { font-size: .92rem; line-height: 1.4; }
.said ul { margin: .2rem 0 .2rem 1.1rem; }
.bar { height: .7rem; border-radius: .35rem; background: var(--border-color-primary); overflow: hidden; }
.bar div { height: 100%; background: var(--color-accent); transition: width .3s; }
.jobs table { width: 100%; border-collapse: collapse; }
.jobs table, .jobs tr, .jobs th, .jobs td { border: 0 !important; }
.jobs th, .jobs td { text-align: left; padding: .3rem .5rem; }
.jobs tr { border-bottom: 1px solid var(--border-color-primary) !important; }
.scale { font-size: .92rem; }
.scale .ends { display: flex; justify-content: space-between; gap: 1rem; padding-right: 20%; }
.scale ul { list-style: none; margin: .2rem 0; padding: 0; }
.scale li { margin: .3rem 0; }
.scale .line { position: relative; height: .5rem; border-radius: .25rem; background: var(--border-color-primary); }
.scale .line i { position: absolute; top: -.2rem; height: .9rem; width: 2px; background: var(--body-text-color); }
.scale .line b { position: absolute; top: -.15rem; width: .8rem; height: .8rem; margin-left: -.4rem;
  border-radius: 50%; background: var(--color-accent); }
#dice { align-self: center; }
.block:has(.grid-container) > label[data-testid=block-label] { position: static; margin: .4rem 0 0 .5rem; }
#styles .caption-label { left: 0; right: 0; bottom: 0; max-width: none; padding: .1rem .2rem; border-radius: 0;
  font-size: .72rem; line-height: 1.15; text-align: center; white-space: normal; overflow-wrap: anywhere; }
.forming { margin: 0; text-align: center; }
.forming img { height: 220px; max-width: 100%; object-fit: contain; border-radius: 8px; }
:is(#replaced-made, #group-made) :is(.image-container, .image-frame, button:has(img), img) { width: 100%; }
:is(#replaced-made, #group-made) img { max-height: 460px; object-fit: contain; }
.card img { border-radius: 8px; float: right; }
.small { font-size: .85rem; opacity: .8; }
.grid-container { grid-template-columns: repeat(var(--grid-cols), minmax(0, 1fr)) !important; }
@media (max-width: 640px) {
  #styles .grid-container, #job-made .grid-container { --grid-cols: 3 !important; }
  .gradio-container { padding: .4rem !important; }
  .jobs th:nth-child(4), .jobs td:nth-child(4) { display: none; }
}
footer { display: none !important; }
"""

CONSENT = """**Only people who agreed.** A portrait of somebody is theirs to allow: use your own photos, or photos of
people who said yes. Nothing leaves this machine; photos are deleted with their job. Every picture says inside that it
is AI-generated."""

CARDS = """An identity card is a small file that stands for a person wherever a photo is asked for. It is **biometric
data**: who has it can make portraits of the person. Keep it as you would keep a key, write down what they agreed to,
and let it expire."""

PROMPTS = (
    "portrait of a person, smiling, short brown hair, in a red hoodie, at the beach",
    "portrait of a person, laughing, long blond hair, round glasses, in a blue suit, in the city",
    "portrait of a person, calm, curly black hair, in a green sweater, in the forest",
    "portrait of a person, surprised, short blond hair, a straw hat, in a yellow t-shirt, in the snow",
)


def theme() -> gr.themes.Base:
    """No fonts from elsewhere: the page must work without a network."""
    system = ("system-ui", "sans-serif")
    plain = gr.themes.Soft(primary_hue="blue", font=system, font_mono=("ui-monospace", "monospace"))
    return plain.set(
        background_fill_primary="*neutral_50",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_label_text_color="*body_text_color",
        block_label_text_color_dark="*body_text_color",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        link_text_color_dark="*primary_300",
        checkbox_label_background_fill_selected="*primary_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_600",
    )
