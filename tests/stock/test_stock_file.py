"""CSV files of stock, as Excel and people write them."""

from pathlib import Path
from typing import Any

import pytest

from service.commands.stock_file import WrongFile, read_lines

ROWS = [("1", "Чай", "5", "100"), ("2", "Cup; large", "0", "")]
QUOTED = 'product_id,name,quantity,price\n1,Чай,5,100\n2,"Cup; large",0,\n'


def lines_of(tmp_path: Path, content: bytes | str, **options: Any) -> list[tuple[Any, ...]]:
    """(product_id, name, quantity, price) of each line; what is wrong with one is raised."""
    file = tmp_path / "stock.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    found = []
    for product_id, _, name, quantity, price, problem in read_lines(file, **options):
        assert problem is None, problem
        found.append((product_id, name, quantity, price))
    return found


def refusal_of(tmp_path: Path, content: bytes | str, **options: Any) -> str:
    with pytest.raises(WrongFile) as caught:
        lines_of(tmp_path, content, **options)
    return str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_commas_semicolons_and_tabs_separate(tmp_path: Path, separator: str) -> None:
    content = QUOTED.replace(",", separator)
    assert lines_of(tmp_path, content) == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(tmp_path: Path, end: str) -> None:
    assert lines_of(tmp_path, QUOTED.replace("\n", end)) == ROWS


@pytest.mark.parametrize(
    ("encoding", "options"),
    [
        ("utf-8", {}),
        ("utf-8-sig", {}),
        ("utf-16", {}),
        ("utf-8-sig", {"encoding": "windows-1251"}),
        ("cp1251", {"encoding": "windows-1251"}),
        ("cp866", {"encoding": "CP866"}),
    ],
)
def test_a_mark_at_the_beginning_or_an_option_tells_the_encoding(
    tmp_path: Path, encoding: str, options: dict[str, str]
) -> None:
    assert lines_of(tmp_path, QUOTED.encode(encoding), **options) == ROWS


def test_utf_16_may_have_the_other_byte_order(tmp_path: Path) -> None:
    assert lines_of(tmp_path, b"\xfe\xff" + QUOTED.encode("utf-16-be")) == ROWS


def test_columns_have_any_order_and_letter_case(tmp_path: Path) -> None:
    content = "Price; QUANTITY ;Product_ID;Name\n100;5;1;Чай\n"
    assert lines_of(tmp_path, content) == ROWS[:1]


def test_the_line_that_excel_understands_is_understood(tmp_path: Path) -> None:
    content = "sep=;\r\nproduct_id;quantity\r\n1;5\r\n"
    assert lines_of(tmp_path, content) == [("1", None, "5", None)]


def test_only_product_and_quantity_are_needed_and_blank_rows_are_none(tmp_path: Path) -> None:
    content = "product_id;quantity;name\n1;5;x\n;;\n\n2;6;\n"
    assert lines_of(tmp_path, content) == [("1", "x", "5", None), ("2", "", "6", None)]


def test_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    file = tmp_path / "stock.csv"
    file.write_text('sep=,\nproduct_id,quantity,name\n1,5,"two\nlines"\n\n2,6\n3,7,x\0\n')
    assert [(line[1], line[5]) for line in read_lines(file)] == [
        (3, None),
        (6, "2 fields instead of 3"),
        (7, "text holds a NUL"),
    ]


def test_extra_columns_are_passed_over_when_asked(tmp_path: Path) -> None:
    content = "product_id,brand,quantity,\n1,Ahmad,5,\n"
    assert refusal_of(tmp_path, content) == (
        "1: the header has columns that say nothing here, which --ignore-extra passes over:"
        " brand, (without a name)"
    )
    assert lines_of(tmp_path, content, ignore_extra=True) == [("1", None, "5", None)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "Артикул;Количество\n1;5\n",
            "1: the header has to name product_id and quantity, and may name name and price;"
            " there is no product_id and no quantity; found, by semicolons: Артикул, Количество",
        ),
        (
            "product_id|quantity\n1|5\n",
            "1: the header has to name product_id and quantity, and may name name and price;"
            " there is no product_id and no quantity; found, by commas: product_id|quantity",
        ),
        (
            "product_id,name\n",
            "1: the header has to name product_id and quantity, and may name name and price;"
            " there is no quantity; found, by commas: product_id, name",
        ),
        (
            "",
            "1: the header has to name product_id and quantity, and may name name and price;"
            " there is no product_id and no quantity; found, by commas: nothing",
        ),
        (
            "product_id,quantity,Name,name\n",
            "1: the header names name more than once;"
            " found, by commas: product_id, quantity, Name, name",
        ),
        ('product_id,quantity\n1,5\n2,"6\n', "3: unexpected end of data"),
        ('product_id,quantity\n1,5\n2,"6\n3,7\n', "3: unexpected end of data"),
        ('product_id,quantity\n1,5\n2,"6"x\n', "3: ',' expected after '\"'"),
        (f"product_id,quantity\n1,5\n{'x' * 2**20}\n", "3: a line of 1048576 characters or more"),
        (
            b"product_id,quantity,name\n1,5,x\n2,6,\xd7\xe0\xe9\n",
            "3: this is not UTF-8; what Excel saves as CSV is often --encoding windows-1251",
        ),
        (b"\xff\xfep\x00r\x00o", "1: this is not utf-16"),
    ],
)
def test_a_file_of_another_kind_is_refused_and_told_what_was_found(
    tmp_path: Path, content: bytes | str, said: str
) -> None:
    assert refusal_of(tmp_path, content) == said


def test_what_cannot_be_decoded_far_into_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    content = b"product_id,quantity,name\n" + b"1,5,x\n" * 20_000 + b"2,6,\xd7\n"
    assert refusal_of(tmp_path, content).startswith("20002: this is not UTF-8")
    assert refusal_of(tmp_path, content, encoding="ascii") == "20002: this is not ascii"


def test_a_long_header_is_not_repeated_whole(tmp_path: Path) -> None:
    assert len(refusal_of(tmp_path, "x" * 10_000 + "\n")) < 500
