"""Data sets by name, each with its settings."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BeforeValidator, Field, model_validator

from fractal_dsl.config.settings import Settings

_AFTER_COLON = {"folder": "path", "npz": "path", "csv": "path", "text": "path", "python": "factory"}
MISSING = ("NA", "N/A", "NaN", "null", "None", "?")
"""What stands for a missing value in a table, in any case, besides an empty field."""


class Digits(Settings):
    """The 1,797 handwritten digits that come with the package: f32[1, 8, 8], 10 classes."""

    name: Literal["digits"] = "digits"


class Synthetic(Settings):
    """Synthetic examples of the net's input type: fractal textures, rows of numbers, or tokens, different for each
    class."""

    name: Literal["synthetic"] = "synthetic"
    classes: int | None = Field(
        default=None, ge=2, description="number of classes; by default the number of the net's outputs"
    )
    size: int = Field(default=2000, ge=10, le=1_000_000, description="number of examples, including the test examples")
    noise: float = Field(default=0.5, ge=0, description="standard deviation within a class; between classes it is 1")
    seed: int = Field(default=0, ge=0, description="seed of the examples, apart from the run's seed")


class Cifar(Settings):
    """CIFAR: f32[3, 32, 32], 10 or 100 classes, 50,000 training and 10,000 test images."""

    name: Literal["cifar10", "cifar100"]
    root: str | None = Field(default=None, description="its folder; by default FRACTAL_DSL_DATA, else ./data")
    download: bool = Field(default=False, description="download the data set if it is missing")


class Svhn(Settings):
    """Street View House Numbers: f32[3, 32, 32], 10 classes, 73,257 training and 26,032 test images."""

    name: Literal["svhn"] = "svhn"
    extra: bool = Field(default=False, description="train on the 531,131 extra images as well")
    root: str | None = Field(default=None, description="its folder; by default FRACTAL_DSL_DATA, else ./data")
    download: bool = Field(default=False, description="download the data set if it is missing")


class _ImageFiles(Settings):
    """The settings that data sets of image files share."""

    background: str = Field(
        default="white",
        pattern=r"^(white|black|gr[ae]y|#[0-9a-fA-F]{6})$",
        description="colour behind transparent pixels",
    )
    workers: int | None = Field(default=None, ge=0, le=256, description="reader processes; by default up to 8")
    skip_unreadable: bool = Field(default=False, description="skip image files that cannot be read, and list them")


class ImageNet(_ImageFiles):
    """ImageNet as folders: root/train/CLASS/*.JPEG and root/val/CLASS/*.JPEG. Read from the disk while training."""

    name: Literal["imagenet"] = "imagenet"
    root: str | None = Field(default=None, description="by default imagenet in FRACTAL_DSL_DATA, else in ./data")
    crop_pct: float = Field(default=0.875, gt=0, le=1, description="share of the shorter side seen in evaluation")


class Folder(_ImageFiles):
    """Your images, one folder per class, or with a mask each: PATH/CLASS/*, or PATH/images/* and PATH/masks/*.

    Instead of PATH there may be PATH/train, PATH/val and PATH/test. Images are cut to the net's size, and up to 1 GB
    of them is held in memory.
    """

    name: Literal["folder"] = "folder"
    path: str = Field(min_length=1, description='`"folder:PATH"` for short')
    crop_pct: float = Field(default=1.0, gt=0, le=1, description="share of the shorter side seen in evaluation")
    nested: bool = Field(default=False, description="images of a class may be in subfolders")
    values: list[int] | None = Field(
        default=None, min_length=1, description="the number in masks for each class, in order; by default 0, 1, 2, …"
    )
    ignored: int | None = Field(
        default=None, ge=0, description="the number in masks for pixels that do not count; by default 255"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        values = self.values or []
        if len({*values}) < len(values) or self.ignored in values:
            raise ValueError("`values` has a number twice, or the ignored one")
        if not all(0 <= value < 2**16 for value in (*values, self.ignored or 0)):
            raise ValueError("the numbers in masks are from 0 to 65,535")
        return self


class Npz(Settings):
    """Your arrays in a NumPy archive: inputs and targets, or x_train, y_train, x_test and y_test.

    The targets are classes, labels of 0 and 1, numbers, masks or tokens.
    """

    name: Literal["npz"] = "npz"
    path: str = Field(min_length=1, description='`"npz:PATH"` for short')
    ignored: int | None = Field(
        default=None, description="value of pixels or tokens that do not count; by default 255 in masks, -100 in tokens"
    )


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else cast(object, value)


ColumnNames = Annotated[list[str], BeforeValidator(_listed)]
"""Several texts; a text is a list of one."""


class Csv(Settings):
    """Your table, a CSV file whose first line names the columns. Texts in it are categories."""

    name: Literal["csv"] = "csv"
    path: str = Field(min_length=1, description="the file")
    target: ColumnNames = Field(min_length=1, description="the column to predict, or a list of several")
    validation: str | None = Field(default=None, min_length=1, description="a file of validation rows")
    test: str | None = Field(default=None, min_length=1, description="a file of test rows; by default a fifth of all")
    columns: ColumnNames = Field(default=[], description="the columns that are inputs, in order; by default all others")
    drop: ColumnNames = Field(default=[], description="columns that are not inputs")
    categories: ColumnNames = Field(default=[], description="columns of categories that look like numbers")
    missing: ColumnNames = Field(
        default=[*MISSING], description="what stands for a missing value in any case, besides an empty field"
    )
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="what separates fields; by default the first line shows it",
    )
    decimal: Literal[".", ","] = Field(default=".", description="the decimal mark of numbers")
    encoding: str = Field(default="utf-8", description="the encoding of the file if it is not UTF-8")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.columns and self.drop:
            raise ValueError("`columns` lists all inputs, so `drop` is not needed: remove one of them")
        if twice := [name for names in (self.columns, self.target) for name in names if names.count(name) > 1]:
            raise ValueError(f"the column `{twice[0]}` is listed twice")
        if self.delimiter in (self.decimal, '"', "\n", "\r"):
            raise ValueError(f"the delimiter cannot be {self.delimiter!r}")
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError):
            known = "utf-8, utf-16, latin-1 or cp1252"
            raise ValueError(f"unknown encoding `{self.encoding}`: use {known}, for example") from None
        return self


class Text(Settings):
    """Your texts as bytes, a file or a folder: a net that takes i64[L] predicts the byte after each of L bytes."""

    name: Literal["text"] = "text"
    path: str = Field(min_length=1, description='`"text:PATH"` for short')
    include: ColumnNames = Field(
        default=["*"], min_length=1, description='patterns of file names in a folder, such as "*.md"'
    )


class Python(Settings):
    """Your own torch Dataset: MODULE:FACTORY is called with "train", "validation" and "test". Needs --allow-python."""

    name: Literal["python"] = "python"
    factory: str = Field(description='`"python:MODULE:FACTORY"` for short')
    workers: int = Field(default=0, ge=0, le=256, description="reader processes")

    @model_validator(mode="after")
    def _check(self) -> Self:
        module, _, function = self.factory.partition(":")
        if not all(name.isidentifier() for name in [*module.split("."), *function.split(".")]):
            raise ValueError('for your own Dataset write "python:MODULE:FACTORY"')
        return self


Dataset = Annotated[
    Digits | Synthetic | Cifar | Svhn | ImageNet | Folder | Npz | Csv | Text | Python, Field(discriminator="name")
]


def short_form() -> BeforeValidator:
    """``"folder:PATH"`` is the data set `folder` with its path, ``"digits"`` one without settings."""

    def expand(value: Any) -> Any:
        settings: dict[str, Any] = {"name": value} if isinstance(value, str) else {}
        if isinstance(value, Mapping):
            settings = dict(cast(Mapping[str, Any], value))
        name, colon, rest = str(settings.get("name", "")).partition(":")
        if colon and name in _AFTER_COLON:
            return {_AFTER_COLON[name]: rest, **settings, "name": name}
        return settings or cast(object, value)

    return BeforeValidator(expand)


# --- augmentation of training images


class NoAugmentation(Settings):
    """Images as they are."""

    name: Literal["none"] = "none"


class Translate(Settings):
    """The paper's "+": images mirrored and moved by up to 4 pixels. Its "++": `padding="reflect"`."""

    name: Literal["translate"] = "translate"
    pixels: int = Field(default=4, ge=0, description="largest shift along each axis")
    padding: Literal["zeros", "reflect"] = Field(
        default="zeros",
        description="fill for shifted pixels: zeros, after the mean is subtracted, or the reflected image",
    )
    mirror: bool = Field(default=True, description="mirror half of the images")


class ResizedCrop(Settings):
    """ImageNet's: a random crop of random size and aspect ratio, scaled to the net's size. Needs image files."""

    name: Literal["resized_crop"] = "resized_crop"
    smallest: float = Field(default=0.08, gt=0, le=1, description="the smallest crop, as a share of the area")
    mirror: bool = Field(default=True, description="mirror half of the images")


Augmentation = Annotated[NoAugmentation | Translate | ResizedCrop, Field(discriminator="name")]
