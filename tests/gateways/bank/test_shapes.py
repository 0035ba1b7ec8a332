"""Elements of one shape are read by a template; what it reads is what the plan reads."""

from __future__ import annotations

from typing import Final

import pytest
from lxml import etree

from gateways.bank.iso20022 import shapes
from gateways.bank.iso20022.shapes import Fields, Shapes

TABLE: Final = {"A": "first", "B/A": "first", "Amt": "amount@", "U": "lines*", "P": "kind=person"}
USUAL: Final = "<T><A>1</A><B><A>2</A></B><Amt Ccy='EUR'>3</Amt><U>4</U><U>5</U></T>"
NEVER: Final = 10**9


def said(fields: Fields) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What was read."""
    return dict(fields), {name: list(values) for name, values in fields.many.items()}


class TestTemplate:
    @pytest.mark.parametrize(
        "other",
        [
            USUAL,
            USUAL.replace(">1<", "> 1\n<"),
            USUAL.replace(">1<", "> <"),
            USUAL.replace("<A>1</A>", "<A/>"),
            USUAL.replace(">1<", ">&lt;a&gt; &amp;amp; b<"),
            USUAL.replace(">1<", ">a&#13;<"),
            USUAL.replace(">1<", "><![CDATA[<A>9</A>]]><"),
            USUAL.replace("EUR", "CNY"),
            USUAL.replace("Ccy='EUR'", ""),
            USUAL.replace("<A>1</A>", "<A>1<x/></A>"),
            USUAL.replace("<A>1</A>", "<A>1</A>text"),
            USUAL.replace("<U>4</U>", "<P>4</P>"),
            USUAL.replace("<U>4</U>", "<V>4</V>"),
            USUAL.replace("<T>", "<T xmlns='urn:other'>"),
        ],
    )
    @pytest.mark.parametrize("blank", ["1", " ", ""])
    def test_reads_what_the_plan_reads(
        self, other: str, blank: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P-23: whatever came before, also blanks where a later one has a value."""
        monkeypatch.setattr(shapes, "TEMPLATE_AFTER", 1)
        quick = Shapes(TABLE)
        quick.read(etree.fromstring(USUAL.replace(">1<", f">{blank}<")))
        monkeypatch.setattr(shapes, "TEMPLATE_AFTER", NEVER)
        element = etree.fromstring(other)
        assert said(quick.read(element)) == said(Shapes(TABLE).read(element))
        assert said(quick.read(element)) == said(Shapes(TABLE).read(element))

    def test_templates_do_not_grow_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shapes, "TEMPLATE_AFTER", 1)
        monkeypatch.setattr(shapes, "TEMPLATES_MAX", 2)
        quick = Shapes(TABLE)
        for number in range(5):
            text = USUAL.replace("EUR", f"EU{number}")
            assert said(quick.read(etree.fromstring(text)))[0]["amount@currency"] == f"EU{number}"
