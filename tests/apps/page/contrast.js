// Texts that are hard to read: contrast below WCAG's 4.5 (3 for large letters), as [ratio, text, colour, background].
() => {
  const light = rgb => {
    const [r, g, b] = rgb.map(one => one / 255).map(one => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const colour = text => { const found = text.match(/[\d.]+/g).map(Number); return found.length > 3 ? found : [...found, 1]; };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const parents = element => { const all = []; for (let one = element; one; one = one.parentElement) all.push(one); return all; };
  const background = element => {
    const layers = [];
    for (const one of parents(element)) {
      const style = getComputedStyle(one);
      if (style.backgroundImage !== "none") return null;  // a picture: nobody can say
      layers.push(colour(style.backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const hard = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim(), element = texts.currentNode.parentElement;
    if (!text || element.closest("button:disabled, script, style, #made, [data-testid=status-tracker]") || !element.checkVisibility({visibilityProperty: true})) continue;
    const box = element.getBoundingClientRect(), style = getComputedStyle(element), below = background(element);
    if (!box.width || !box.height || below === null) continue;
    const own = colour(style.color);
    own[3] *= parents(element).reduce((all, one) => all * Number(getComputedStyle(one).opacity), 1);
    if (own[3] < 0.05) continue;  // not to be seen
    const [most, least] = [light(over(own, below)), light(below)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.6 && Number(style.fontWeight) >= 700);
    const ratio = (most + 0.05) / (least + 0.05);
    if (ratio < (large ? 3 : 4.5)) hard.push([ratio.toFixed(2), text.slice(0, 40), style.color, below.map(Math.round).join()]);
  }
  return hard;
}
