"""Elements of one shape are read by a template; what it reads is what the plan reads."""

from __future__ import annotations

from typing import Final

import pytest
from lxml import etree

from gateways.bank.iso20022 import runs
from gateways.bank.iso20022.runs import Runs
from gateways.bank.iso20022.shapes import Fields, Shapes

TABLE: Final = {"A": "first", "B/A": "first", "Amt": "amount@", "U": "lines*", "P": "kind=person"}
USUAL: Final = "<T><A>1</A><B><A>2</A></B><Amt Ccy='EUR'>3</Amt><U>4</U><U>5</U></T>"

Read = tuple[dict[str, str], dict[str, list[str]]]


def said(fields: Fields) -> Read:
    """What was read."""
    return dict(fields), {name: list(values) for name, values in fields.many.items()}


def by_plan(*texts: str) -> list[Read]:
    """What is read of elements by the parser alone."""
    return [said(Shapes(TABLE).read(etree.fromstring(text))) for text in texts]


def in_a_row(*texts: str) -> tuple[list[Read], int]:
    """What is read of elements that stand side by side, and how many of them in runs."""
    shapes = Shapes(TABLE)
    sieve = Runs({"T": shapes}, inner="none")
    body = sieve.condensed(f"<P>{''.join(texts)}</P>".encode()) + sieve.rest()
    read, quick = [], 0
    for child in etree.fromstring(body):
        if sieve.is_mark(child):
            taken = sieve.taken(child, "T")
            read += [said(one.fields()) for one in taken]
            quick += len(taken)
        else:
            read.append(said(shapes.read(child)))
    sieve.check_used()
    return read, quick


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "TEMPLATE_AFTER", 1)


class TestTemplate:
    @pytest.mark.parametrize(
        "other",
        [
            USUAL,
            USUAL.replace(">1<", "> 1\n<"),
            USUAL.replace(">1<", "> <"),
            USUAL.replace(">1<", "><"),
            USUAL.replace("<A>1</A>", "<A/>"),
            USUAL.replace(">1<", ">&lt;a&gt; &amp;amp; &quot;&apos; b<"),
            USUAL.replace(">1<", ">a > b<"),
            USUAL.replace(">1<", ">a&#13;<"),
            USUAL.replace(">1<", ">&#20805;<"),
            USUAL.replace(">1<", "><![CDATA[<A>9</A>]]><"),
            USUAL.replace(">1<", ">9<!-- <A>8</A> --><"),
            USUAL.replace("EUR", "CNY"),
            USUAL.replace("Ccy='EUR'", ""),
            USUAL.replace("Ccy='EUR'", "Ccy='E>R'"),
            USUAL.replace("Ccy='EUR'", "Ccy='E&amp;R'"),
            USUAL.replace("Ccy='EUR'", "x:Ccy='EUR' xmlns:x='urn:x'"),
            USUAL.replace("<A>1</A>", "<A>1<x/></A>"),
            USUAL.replace("<A>1</A>", "<A>1</A>text"),
            USUAL.replace("<U>4</U>", "<P>4</P>"),
            USUAL.replace("<U>4</U>", "<P></P>"),
            USUAL.replace("<U>4</U>", "<V>4</V>"),
            USUAL.replace("<T>", "<T xmlns='urn:other'>"),
            USUAL.replace("<T>", "<T\n>"),
            USUAL.replace("</T>", "</T >"),
        ],
    )
    @pytest.mark.parametrize("blank", ["1", " ", ""])
    def test_reads_what_the_plan_reads(self, other: str, blank: str) -> None:
        """P-23: whatever came before, also blanks where a later one has a value."""
        usual = USUAL.replace(">1<", f">{blank}<")
        row = usual, other, usual, other, f" {usual}\n", other, usual
        assert in_a_row(*row)[0] == by_plan(*map(str.strip, row))

    def test_element_of_a_known_form_is_read_in_a_run(self) -> None:
        assert in_a_row(USUAL, USUAL, f"\n{USUAL}")[1] == 2
        assert in_a_row(USUAL, USUAL.replace(">1<", ">a &amp; b<"))[1] == 1

    def test_templates_do_not_grow_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runs, "TEMPLATES_MAX", 2)
        row = [USUAL.replace("EUR", f"EU{number}") for number in range(5) for _ in range(2)]
        read, quick = in_a_row(*row)
        assert read == by_plan(*row)
        assert quick == 2
