"""The machine-readable "AI-generated" mark inside image files.

An XMP packet with IPTC's ``DigitalSourceType`` (what C2PA tools, search engines and photo archives read), and
for PNG also plain text chunks that any reader shows.
"""

from __future__ import annotations

from PIL.PngImagePlugin import PngInfo

__all__ = ["png_marks", "xmp_packet"]

_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="{uri}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def xmp_packet(digital_source_type: str) -> str:
    """XMP that carries the IPTC digital source type (a URI)."""
    return _XMP.format(uri=digital_source_type)


def png_marks(digital_source_type: str) -> PngInfo:
    """Text chunks for a PNG file."""
    info = PngInfo()
    info.add_text("ai_generated", "true")
    info.add_text("digital_source_type", digital_source_type)
    info.add_itxt("XML:com.adobe.xmp", xmp_packet(digital_source_type))
    return info
