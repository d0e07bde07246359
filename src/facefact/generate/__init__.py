"""Portraits from stock diffusers pipelines with a face adapter: text-to-image, inpainting, recipes, models, and
the Studio that holds one model for all of them."""

from __future__ import annotations

from facefact.generate.face_cache import FaceCache
from facefact.generate.groups import GroupSettings, InTemplate, paint_group
from facefact.generate.inpaint import InpaintSettings, Replacement, inpaint, inpaint_faces
from facefact.generate.models import describe, list_models, load_base, locate, models_dir, native_size, pull
from facefact.generate.person import Person, find_person, tokens_of
from facefact.generate.recipe import file_hash, model_hash, read_recipe, save_portrait
from facefact.generate.studio import Studio
from facefact.generate.template import Template, open_template
from facefact.generate.text_to_image import Settings, text_to_image, text_to_images

__all__ = [
    "FaceCache",
    "GroupSettings",
    "InTemplate",
    "InpaintSettings",
    "Person",
    "Replacement",
    "Settings",
    "Studio",
    "Template",
    "describe",
    "file_hash",
    "find_person",
    "inpaint",
    "inpaint_faces",
    "list_models",
    "load_base",
    "locate",
    "model_hash",
    "models_dir",
    "native_size",
    "open_template",
    "paint_group",
    "pull",
    "read_recipe",
    "save_portrait",
    "text_to_image",
    "text_to_images",
    "tokens_of",
]
