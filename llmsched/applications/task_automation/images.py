"""Tools on small images, which travel as JSON: `{"width", "height", "png"}` with the file in base64."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Literal

from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError
from typing_extensions import TypedDict

from llmsched.tools import tool

_MAX_SIDE = 2048
_IMAGE_BYTES = 16 * 2**20


class ImageValue(TypedDict):
    """An image: its size in pixels and a PNG file in base64."""

    width: int
    height: int
    png: str


class Histogram(TypedDict):
    """How bright the pixels of an image are: counts for equal ranges from black to white, and the mean (0-255)."""

    counts: list[int]
    mean: float
    dominant_colour: str


@tool(name="image.create", max_output_bytes=_IMAGE_BYTES)
def create(
    width: int,
    height: int,
    colour: str = "white",
    shape: Literal["none", "circle", "rectangle", "gradient"] = "none",
    shape_colour: str = "black",
    text: str = "",
) -> ImageValue:
    """Draw an image: a background, a shape in the middle or a gradient, and a line of text.

    Args:
        width: Pixels, 1 to 2048.
        height: Pixels, 1 to 2048.
        colour: Background: a name such as red, or a code such as #ff8800.
        shape: What to draw; a gradient goes from the background's colour at the top to the shape's.
        shape_colour: Colour of the shape and the text.
        text: A short text, written in the middle.
    """
    _check_size(width, height)
    image = Image.new("RGB", (width, height), colour)
    draw = ImageDraw.Draw(image)
    middle, radius = (width / 2, height / 2), min(width, height) / 3
    box = (middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius)
    if shape == "circle":
        draw.ellipse(box, fill=shape_colour)
    elif shape == "rectangle":
        draw.rectangle(box, fill=shape_colour)
    elif shape == "gradient":
        mask = Image.linear_gradient("L").resize((width, height))
        image = Image.composite(Image.new("RGB", (width, height), shape_colour), image, mask)
        draw = ImageDraw.Draw(image)
    if text:
        draw.text(middle, text, fill=shape_colour, anchor="mm")
    return _packed(image)


@tool(name="image.resize", max_output_bytes=_IMAGE_BYTES)
def resize(image: ImageValue, width: int, height: int | None = None) -> ImageValue:
    """Change the size of an image.

    Args:
        image: An image, as another image tool returns it.
        width: Pixels, 1 to 2048.
        height: Pixels; without it the proportions are kept.
    """
    opened = _opened(image)
    height = height or max(1, round(opened.height * width / opened.width))
    _check_size(width, height)
    return _packed(opened.resize((width, height), Image.Resampling.LANCZOS))


@tool(name="image.transform", max_output_bytes=_IMAGE_BYTES)
def transform(image: ImageValue, operation: Literal["greyscale", "invert", "mirror", "flip", "rotate"]) -> ImageValue:
    """Make an image grey, invert its colours, mirror it left to right, flip it upside down or rotate it 90° left.

    Args:
        image: An image, as another image tool returns it.
        operation: What to do.
    """
    opened = _opened(image)
    match operation:
        case "greyscale":
            return _packed(ImageOps.grayscale(opened).convert("RGB"))
        case "invert":
            return _packed(ImageOps.invert(opened))
        case "mirror":
            return _packed(ImageOps.mirror(opened))
        case "flip":
            return _packed(ImageOps.flip(opened))
        case "rotate":
            return _packed(opened.transpose(Image.Transpose.ROTATE_90))


@tool(name="image.histogram")
def histogram(image: ImageValue, bins: int = 8) -> Histogram:
    """Describe an image: how many pixels are how bright, the mean brightness, and the commonest colour.

    Args:
        image: An image, as another image tool returns it.
        bins: How many ranges of brightness, 1 to 256.
    """
    if not 1 <= bins <= 256:
        raise ValueError(f"bins must be between 1 and 256, not {bins}")
    opened = _opened(image)
    levels = ImageOps.grayscale(opened).histogram()
    counts = [0] * bins
    for level, count in enumerate(levels):
        counts[level * bins // 256] += count
    mean = sum(level * count for level, count in enumerate(levels)) / sum(levels)
    colours = opened.getcolors(opened.width * opened.height) or []
    commonest = max(colours, key=lambda item: (item[0], item[1]))[1]
    assert isinstance(commonest, tuple)  # of an RGB image
    return {
        "counts": counts,
        "mean": round(mean, 2),
        "dominant_colour": "#" + "".join(f"{part:02x}" for part in commonest),
    }


def _check_size(width: int, height: int) -> None:
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise ValueError(f"an image has 1 to {_MAX_SIDE} pixels a side, not {width} x {height}")


def _opened(image: ImageValue) -> Image.Image:
    try:
        opened = Image.open(io.BytesIO(base64.b64decode(image["png"], validate=True)), formats=["PNG"])
        # Before it is unpacked: a small file can hold a huge image.
        _check_size(*opened.size)
        return opened.convert("RGB")
    except (binascii.Error, UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"png is no PNG image in base64: {error}") from None


def _packed(image: Image.Image) -> ImageValue:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return {"width": image.width, "height": image.height, "png": base64.b64encode(buffer.getvalue()).decode()}
