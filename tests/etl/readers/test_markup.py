"""Marks come off, words and code stay."""

from __future__ import annotations

import pytest

from etl.readers.mapping import MappedRecord
from etl.readers.markup import cleaned, plain_html, plain_markdown
from etl.readers.record import BadRecord


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("France won.<br><br>It rained &amp; poured.", "France won.\n\nIt rained & poured."),
        ("<p>One <strong>bold</strong> word.</p><p>Two.</p>", "One bold word.\n\nTwo."),
        (
            "<table>\n<tr>\n<td>tea</td>\n<td>$2</td>\n</tr>\n<tr><td>ice</td><td>$3</td></tr>\n</table>",
            "tea | $2\nice | $3",
        ),
        ("std::vector<int> v; a < b and c > d", "std::vector<int> v; a < b and c > d"),
        ("<!-- note -->Text<script>run()</script>", "Text"),
    ],
)
def test_html_in_a_field(text, plain):
    assert plain_html(text) == plain


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ('---\ntitle: "GDP"\n---\n\n**GDP**{: data-type="term"} is a sum.', "**GDP** is a sum."),
        (
            '<div data-type="abstract" markdown="1">\nYou will be able to:\n\n* add\n\n</div>',
            "You will be able to:\n\n* add",
        ),
        ('![A curve rises.](../a_(1).jpg "Supply \\"S\\""){: #fig1}', 'A curve rises. Supply "S"'),
        (r"See ([\[link\]](#fig-1)) and [the law](https://law.org/a).", r"See (\[link\]) and the law."),
        (
            "Read:\n\n```html\n<div>{: x}[a](b)</div>\n```\n\nthen `<br>` is code.",
            "Read:\n\n```html\n<div>{: x}[a](b)</div>\n```\n\nthen `<br>` is code.",
        ),
        ("    indented(code)\n\n$a[i](x)$ and $p<q$", "indented(code)\n\n$a[i](x)$ and $p<q$"),
        ("### Growing Inequality   {#ch14mod04_03}\nText.", "### Growing Inequality   \nText."),
        ("<p>From $2</p><p>to $3</p>", "From $2\n\nto $3"),
        ("<math><mrow> <mi>E</mi> <mo>=</mo> <mi>m</mi> </mrow></math>", "E = m"),
    ],
)
def test_markdown(text, plain):
    assert plain_markdown(text) == plain


def test_a_record_of_marks_alone_is_a_bad_record():
    bad = cleaned(MappedRecord("7", "passage", "<div></div>"), "html")
    assert isinstance(bad, BadRecord)
    assert (bad.position, bad.reason) == ("7", "empty_text")


def test_question_and_answer_are_cleaned_too_and_nothing_is_without_markup():
    record = MappedRecord("7", "qa", "<b>x</b>", question="<p>Why?</p>", answer="So <i>it</i> is.")
    assert cleaned(record, "none") is record
    made = cleaned(record, "html")
    assert (made.question, made.answer) == ("Why?", "So it is.")
