"""The shape of a preset."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from provisioner.model import Layout, RepoId, Revision

_Layouts = Annotated[list[Layout], Field(min_length=1)]


class ModelSchema(BaseModel):
    """One `[[models]]` table."""

    model_config = ConfigDict(extra="forbid")

    repo: Annotated[str, AfterValidator(RepoId)] | None = None
    fastembed: str | None = None
    sentence_transformers: str | None = None
    revision: Annotated[str, AfterValidator(Revision)] = "main"
    layouts: _Layouts = Field(default_factory=lambda: [Layout.HUB])
    include: list[str] = Field(default_factory=list)
    exclude: list[str] = Field(default_factory=list)
    allow_pickle: bool = False
    allow_remote_code: bool = False

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if [self.repo, self.fastembed, self.sentence_transformers].count(None) != 2:
            raise ValueError("exactly one of repo, fastembed and sentence_transformers is needed")
        return self


class PresetSchema(BaseModel):
    """The whole document."""

    model_config = ConfigDict(extra="forbid")

    description: str
    models: Annotated[list[ModelSchema], Field(min_length=1)]
