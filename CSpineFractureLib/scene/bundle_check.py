"""What a scene bundle may refer to: the files within itself, and nothing else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from CSpineFractureLib.errors import UserError


def refuse_outside_references(description: Path, bundle: Path) -> None:
    """Raise ``UserError`` when a scene description (``.mrml``) names a file outside its folder, or an address.

    ``bundle`` is how the user knows the scene. Slicer itself would read such a file, or fetch it from the network.
    """
    try:
        elements = list(ElementTree.parse(description).iter())
    except ElementTree.ParseError as error:
        message = f"{bundle} holds a damaged scene: save the scene again as .mrb."
        raise UserError(message) from error
    folder = description.parent.resolve()
    for element in elements:
        for name, value in element.attrib.items():
            is_file = name == "fileName" or name.startswith("fileListMember")
            is_address = name == "uri" or name.startswith("uriListMember")
            outside = is_file and not (folder / unquote(value).replace("\\", "/")).resolve().is_relative_to(folder)
            if value and (outside or is_address):
                message = f"{bundle} refers to data outside itself: open it in Slicer and save it again as .mrb."
                raise UserError(message)
