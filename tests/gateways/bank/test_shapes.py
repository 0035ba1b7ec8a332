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


def in_a_row(by: Shapes, *texts: str) -> list[tuple[dict[str, str], dict[str, list[str]]]]:
    """What is read of elements that stand side by side."""
    parent = etree.fromstring(f"<P>{''.join(texts)}</P>")
    return [said(one) for one in by.read_all(parent, list(parent))]


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
        usual = USUAL.replace(">1<", f">{blank}<")
        in_a_row(quick, usual, usual)
        monkeypatch.setattr(shapes, "TEMPLATE_AFTER", NEVER)
        plan = said(Shapes(TABLE).read(etree.fromstring(other)))
        read = in_a_row(quick, usual, other, usual, other)
        assert read == in_a_row(Shapes(TABLE), usual, other, usual, other)
        assert read[1] == read[3] == plan

    def test_equal_text_in_another_namespace_is_not_taken_for_equal(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shapes, "TEMPLATE_AFTER", 1)
        quick = Shapes({"A": "first"})
        for uri in ("urn:one", "urn:other"):
            parent = etree.fromstring(f"<P xmlns:p='{uri}'>{'<p:T><p:A>1</p:A></p:T>' * 3}</P>")
            read = [dict(one) for one in quick.read_all(parent, list(parent))]
            assert read == [{"first": "1"}] * 3

    def test_run_behind_others_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shapes, "TEMPLATE_AFTER", 1)
        quick = Shapes({"A": "first"})
        parent = etree.fromstring(
            "<P><H><T><A>7</A></T><E/></H><E/> <T><A>1</A></T>\n<T><A>2</A></T><Z><A>9</A></Z></P>"
        )
        for _ in range(3):
            read = [dict(one) for one in quick.read_all(parent, parent.findall("T"))]
            assert read == [{"first": "1"}, {"first": "2"}]

    def test_templates_do_not_grow_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shapes, "TEMPLATE_AFTER", 1)
        monkeypatch.setattr(shapes, "TEMPLATES_MAX", 2)
        quick = Shapes(TABLE)
        for number in range(5):
            text = USUAL.replace("EUR", f"EU{number}")
            for fields, _ in in_a_row(quick, text, text):
                assert fields["amount@currency"] == f"EU{number}"
