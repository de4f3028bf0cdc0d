"""The profiles by name: each system of the source papers is one profile of the same engine."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from CSpineFractureLib.errors import UserError

if TYPE_CHECKING:
    from CSpineFractureLib.findings.study_output import StudyOutput
    from CSpineFractureLib.pipeline.context import RunContext
    from CSpineFractureLib.volume.ct_volume import CTVolume

    RunFunction = Callable[[CTVolume, RunContext], StudyOutput]


@dataclass(frozen=True)
class Profile:
    """A way to read a study.

    ``run`` is ``(CTVolume, RunContext) -> StudyOutput``, or where to find it as ``"package.module:function"`` (so that
    listing the profiles imports no torch), or ``None`` for a profile that is known but cannot run yet; then ``remedy``
    says what to do. ``tasks`` are the networks it needs; the engine loads them before the first stage. It uses those of
    ``optional`` where there are weights. ``explains`` tells whether it makes a Grad-CAM.
    """

    name: str
    title: str
    tasks: tuple[str, ...] = ()
    run: RunFunction | str | None = None
    remedy: str = ""
    optional: tuple[str, ...] = ()
    explains: bool = False

    def check_tasks(self, models: Iterable[str]) -> None:
        """Raise ``UserError`` when one of these tasks, for which the user named a network, is none of this profile."""
        for task in models:
            if task not in (*self.tasks, *self.optional):
                known = ", ".join((*self.tasks, *self.optional)) or "none"
                message = (
                    f"Profile {self.name} has no network for the task {task!r}: its tasks are {known}; 'cspine models"
                    " list' shows the networks on this computer."
                )
                raise UserError(message)

    def function(self) -> RunFunction:
        """The function that runs this profile, imported now. Raises ``UserError`` if there is none."""
        if self.run is None:
            message = f"Profile {self.name} has no weights on this computer: {self.remedy}."
            raise UserError(message)
        if not isinstance(self.run, str):
            return self.run
        module, _, name = self.run.partition(":")
        return getattr(importlib.import_module(module), name)


_PROFILES: dict[str, Profile] = {}
_ALIASES: dict[str, str] = {}


def register_profile(profile: Profile, *aliases: str) -> None:
    """Make a profile known under its name and aliases; a later registration replaces an earlier one."""
    _PROFILES[profile.name] = profile
    _ALIASES.pop(profile.name, None)
    _ALIASES.update(dict.fromkeys(aliases, profile.name))


def profile_names() -> list[str]:
    """All names and aliases, sorted."""
    return sorted({*_PROFILES, *_ALIASES})


def get_profile(name: str) -> Profile:
    """The profile of that name or alias; it may still be one that cannot run. Raises ``UserError`` if unknown."""
    profile = _PROFILES.get(_ALIASES.get(name, name))
    if profile is None:
        message = f"There is no profile {name!r}: use one of {', '.join(profile_names())}."
        raise UserError(message)
    return profile


def runnable_profile(name: str) -> Profile:
    """As ``get_profile``, but raises ``UserError`` as well when the profile cannot run yet."""
    profile = get_profile(name)
    if profile.run is None:
        profile.function()
    return profile


register_profile(
    Profile(
        "two-stage",
        "Windowed slice CNN with Grad-CAM, then YOLOv8 vertebra boxes",
        tasks=("vertebra-detector", "slice-classifier"),
        optional=("column-locator", "level-regressor", "fracture-detector", "fracture-volume"),
        run="CSpineFractureLib.pipeline.two_stage:run",
        explains=True,
    ),
    "default",
)
register_profile(
    Profile(
        "vertebra-yolo",
        "YOLOv5u vertebra boxes C1-C7",
        tasks=("vertebra-detector",),
        run="CSpineFractureLib.pipeline.vertebra_yolo:run",
    )
)
register_profile(
    Profile(
        "gcvit-yolo",
        "GCViT levels per slice, then YOLO fracture boxes",
        tasks=("level-presence", "fracture-detector"),
        run="CSpineFractureLib.pipeline.gcvit_yolo:run",
    )
)
register_profile(
    Profile(
        "unet-cracknet",
        "Three bone windows, U-Net segments, CrackNet with BiLSTM per vertebra",
        tasks=("segmentation",),
        optional=("column-locator", "level-regressor", "vertebra-detector", "vertebra-fracture"),
        run="CSpineFractureLib.pipeline.unet_cracknet:run",
        explains=True,
    )
)
register_profile(
    Profile(
        "radiograph",
        "AlexNet and GoogLeNet on a lateral radiograph",
        tasks=("radiograph",),
        run="CSpineFractureLib.pipeline.radiograph:run",
    )
)
