"""Elements of a guest's XML that nova has no classes for."""

from __future__ import annotations

from typing import Any

from lxml import etree  # type: ignore[import-untyped]
from nova.virt.libvirt import config

NAMESPACE = "http://libvirt.org/schemas/domain/bhyve/1.0"


#: PCI slots of network cards, in the order of the guest's. libvirt gives out slots from the lowest on, and
#: never the last one to anything else; bhyve's variables name a device by its slot.
CARD_SLOTS = range(16, 30)


class Guest(config.LibvirtConfigGuest):
    """A guest with further arguments for bhyve, and with its network cards at known places."""

    def __init__(self, guest: config.LibvirtConfigGuest | None = None) -> None:
        super().__init__()
        if guest is not None:
            self.__dict__.update(guest.__dict__)
        self.arguments: list[str] = []

    def format_dom(self) -> Any:
        """Return the XML."""
        root = super().format_dom()
        arguments = [*self.arguments, *place_cards(root)]
        if arguments:
            line = etree.SubElement(root, f"{{{NAMESPACE}}}commandline", nsmap={"bhyve": NAMESPACE})
            for argument in arguments:
                etree.SubElement(line, f"{{{NAMESPACE}}}arg", value=argument)
        return root


def place_cards(domain: Any) -> list[str]:
    """Give each network card its slot, and return the arguments that tell bhyve their MTUs.

    libvirt's bhyve driver does nothing with ``<mtu>``. Only virtio cards tell
    the guest of one (bhyve_config(5)).
    """
    arguments = []
    for slot, interface in zip(CARD_SLOTS, domain.findall("./devices/interface"), strict=False):
        etree.SubElement(
            interface, "address", type="pci", domain="0x0000", bus="0x00", slot=f"0x{slot:02x}", function="0x0"
        )
        mtu, model = interface.find("mtu"), interface.find("model")
        if mtu is not None and model is not None and model.get("type") == "virtio":
            arguments += ["-o", f"pci.0.{slot}.0.mtu={mtu.get('size')}"]
    return arguments


def remove_card(domain: Any, mac: str) -> None:
    """Take a network card, by its MAC address, and what bhyve is told of its slot out of a guest's XML.

    bhyve does not start with variables of a slot that has no device.
    """
    for interface in domain.findall("./devices/interface"):
        found, address = interface.find("mac"), interface.find("address")
        if found is None or found.get("address", "").lower() != mac.lower():
            continue
        interface.getparent().remove(interface)
        line = domain.find(f"{{{NAMESPACE}}}commandline")
        if address is None or line is None:
            continue
        prefix = f"pci.0.{int(address.get('slot'), 0)}.0."
        for argument in [each for each in line if each.get("value", "").startswith(prefix)]:
            option = argument.getprevious()
            line.remove(argument)
            line.remove(option)


class NullModem(config.LibvirtConfigGuestSerial):
    """A serial line over an nmdm pair: the guest has side A."""

    def __init__(self, guest_side: str, host_side: str) -> None:
        super().__init__()
        self.type = "nmdm"
        self.guest_side = guest_side
        self.host_side = host_side

    def format_dom(self) -> Any:
        """Return the XML."""
        device = super().format_dom()
        device.insert(0, etree.Element("source", master=self.guest_side, slave=self.host_side))
        return device
