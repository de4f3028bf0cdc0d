"""What the panel says about the packages: one line for each, and the question before anything is installed."""

from __future__ import annotations

from slicer.i18n import tr as _

from CSpineFractureLib.panel.install_plan import Condition, Fault, Plan, State


def state_line(state: State) -> str:
    """One line: name, version, and what is the matter."""
    name, version = state.component.name, state.version or ""
    if state.condition is Condition.READY:
        return _("✓ {name} {version}").format(name=name, version=version)
    if state.condition is Condition.MISSING:
        return _("– {name}: not installed").format(name=name)
    if state.condition is Condition.OTHER_VERSION:
        return _("– {name} {version}: needed is {wanted}").format(
            name=name, version=version, wanted=state.component.requirement.specifier
        )
    return _("✗ {name}: installed only in part, {reason}").format(name=name, reason=fault_text(state.fault))


def fault_text(fault: Fault) -> str:
    """What is wrong with a broken package."""
    return {
        Fault.NO_CODE: _("pip lists it but its code is gone"),
        Fault.EMPTY_FOLDER: _("its folder is there without its code"),
        Fault.NOT_LISTED: _("its code is there but pip does not know it"),
        Fault.NO_RECORD: _("the list of its files is missing"),
        Fault.FILES_LOST: _("some of its files are missing"),
        Fault.OTHER_TORCH: _("it was made for another torch"),
    }[fault]


def consent_text(plan: Plan, free_megabytes: float, folder: str | None = None) -> str:
    """The question asked once, with the size and the licence of each package."""
    origin = _("from the folder {folder}").format(folder=folder) if folder else _("from the Internet")
    opening = _("An analysis needs these Python packages. They are installed {origin} into Slicer's own Python:")
    lines = [opening.format(origin=origin), ""]
    for state in plan.needed:
        one = state.component
        line = _("• {name}: {size}, licence {licence}").format(
            name=one.name, size=_size(*one.megabytes), licence=one.licence
        )
        if state.condition is Condition.BROKEN:
            line += _(" (installed only in part: {reason}; it is replaced)").format(reason=fault_text(state.fault))
        elif state.condition is Condition.OTHER_VERSION:
            line += _(" (instead of {version})").format(version=state.version)
        lines.append(line)
    lines += [
        "",
        _("Together {size} on disk; {free} are free.").format(
            size=_size(*plan.megabytes), free=_size(free_megabytes, free_megabytes)
        ),
    ]
    if any("AGPL" in state.component.licence for state in plan.needed):
        lines.append(
            _(
                "ultralytics, which finds the boxes, is under AGPL-3.0: whoever passes on a program that contains it, "
                "or lets others use it over a network, must give them the source code under that licence."
            )
        )
    lines += [
        "",
        _(
            "Slicer's own packages, such as numpy and SimpleITK, stay as they are. The section Setup can remove what "
            "is installed now. Install?"
        ),
    ]
    return "\n".join(lines)


def _size(low: float, high: float) -> str:
    if high < 1000:
        text = f"{low:.0f}" if low == high else f"{low:.0f}-{high:.0f}"
        return _("{number} MB").format(number=text)
    text = f"{low / 1000:.1f}" if low == high else f"{low / 1000:.1f}-{high / 1000:.1f}"
    return _("{number} GB").format(number=text)
