"""Tables and arrays are read as rows; what is neither rows nor prose is named, not learnt as prose."""

import gzip
import io
import json
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sixgig.datafile import Kind, kind_of, not_prose
from sixgig.errors import UsageError
from sixgig.finetune.examples import Conversation, Text, read_examples

PAIR = Conversation("", ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, you"}))
ROWS = [{"question": "Hi", "answer": "Hello, you"}, {"question": "Hi", "answer": "Hello, you"}]


def read(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_examples(path))


def refusal(tmp_path, content, name):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, content, name)
    assert str(tmp_path / name) in str(caught.value) and caught.value.cure
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a", "a.CSV"])
@pytest.mark.parametrize(
    "table",
    [
        'question,answer\nHi,"Hello, you"\n',
        '\ufeff"Question";"Answer"\r\n"Hi";"Hello, you"\r\n',
        "id\tPrompt\tResponse\n1\tHi\tHello, you\n",
        "instruction|input|output\n\nHi||Hello, you",
    ],
)
def test_a_table_is_read_as_rows_and_its_header_is_no_text(tmp_path, table, name):
    assert read(tmp_path, table, name) == [PAIR]


def test_line_ends_of_old_macs_are_named_with_how_to_mend_them(tmp_path):
    said = refusal(tmp_path, "question,answer\rHi,Hello\rBye,Ciao\r", "a.csv")
    assert said.endswith("its lines end with CR, as on old Macs: tr '\\r' '\\n' < a.csv > NEW")
    (tmp_path / "NEW.csv").write_bytes((tmp_path / "a.csv").read_bytes().replace(b"\r", b"\n"))
    assert len(list(read_examples(tmp_path / "NEW.csv"))) == 2


def test_quoted_newlines_and_quotes_are_of_the_field_and_lines_are_counted(tmp_path):
    table = 'text,id\n"one\n\nmore ""x""",1\n\ntwo,2\n'
    found = read(tmp_path, table, "a.csv")
    assert found == [Text("", 'one\n\nmore "x"', special=True), Text("", "two", special=True)]
    assert [example.place.rpartition(" ")[2] for example in found] == ["2", "6"]
    assert "line 7: the row has another number of fields" in refusal(tmp_path, table + "a,b,c\n", "a.csv")


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("Hi,Hello\nBye,Ciao\n", "line 1: the columns are of no known example; columns: hi, hello"),
        ("name\nx\n", "columns: name"),
        ("question,answer,answer\na,b,c\n", "line 1: two columns have one name; 'answer'"),
        (
            "question,answer\na,b\nc\n",
            "line 3: the row has another number of fields than the header; 1 fields",
        ),
        ('question,answer\na,"b\nc,d\n', "line 2: this is no row of a table"),
        ('question,answer\na,"b"c\n', "line 2: this is no row of a table"),
        ("question,answer\na,\n", 'line 2: "answer" is empty'),
        ("question,answer,train\na,b,True\na,b,False\n", "line 3: the whole row is not to be learnt"),
        ('question,answer\na,b\n{"question": "a", "answer": "b", "id": 1}\n', "line 3: the row has another"),
        ("question,answer\rHi,Hello\r", "line 1: "),
        ("question,answer\nHi,\u00ff\n".encode("latin-1"), "byte 19; if it is Latin-1: iconv"),
        ("question,answer\nHi,a\n".encode("utf-16"), "byte 0; it is UTF-16: iconv"),
        ("question,answer\nHi,a\n".encode("utf-16-le"), "byte 0; it is UTF-16: iconv"),
    ],
)
def test_a_bad_table_is_named_by_line(tmp_path, table, named):
    assert named in refusal(tmp_path, table, "a.csv")


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a", "a.txt"])
def test_an_array_is_read_as_rows(tmp_path, name, indent):
    found = read(tmp_path, json.dumps(ROWS, indent=indent), name)
    assert found == [PAIR, PAIR]
    lines = [example.place.rpartition(" ")[2] for example in found]
    assert lines == (["1", "1"] if indent is None else ["2", "6"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[{"text": "a"},\n{"text": b"}]', "line 2: this is no JSON"),
        ('[{"text": "a"},\n7]', "line 2: this is no JSON object; found a number"),
        ('[{"text": "a"}\n{"text": "b"}]', "line 2: this is no JSON; expected ','"),
        ('[{"text": "a"},\n{"text": "b"}\n', "the array does not end"),
        ('[{"text": "a"}]\n[{"text": "b"}]', "line 2: the array has ended; more follows"),
        ('[\n{"text": "a", "text": "b"}]', "line 2: this JSON cannot be read; a key stands twice"),
        ('[\n{"text": "\\ud800"}]', "line 2: half a surrogate"),
        ('[\n{"text": 7}]', 'line 2: "text" is no text'),
    ],
)
def test_a_bad_array_is_named_by_line(tmp_path, text, named):
    assert named in refusal(tmp_path, text, "a.json")


def test_json_lines_in_a_text_file_are_not_learnt_as_prose(tmp_path):
    assert read(tmp_path, json.dumps(ROWS[0]) + "\n", "a.txt") == [PAIR]
    assert "line 2: this is no JSON" in refusal(tmp_path, json.dumps(ROWS[0]) + "\nprose\n", "a.txt")
    prose = '{"an": "object"} of another kind\n'
    assert read(tmp_path, prose, "a.txt") == [Text("", prose)]


def _zip(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for name in names:
            made.writestr(name, "a")
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.yaml", "- question: a\n  answer: b\n", "is a YAML file"),
        ("a.yml", "question: a\n", "is a YAML file"),
        ("a.txt", "---\n- instruction: a\n  output: b\n", "is a YAML file"),
        ("a.xml", "<rows/>", "is an XML file"),
        ("a.txt", '<?xml version="1.0"?><rows/>', "is an XML file"),
        ("a.html", "<p>a</p>", "is an HTML file"),
        ("a", "\n<!DOCTYPE html><p>a</p>", "is an HTML file"),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"text": "a"}', mtime=0),
            "is compressed with gzip; it is not read; unpack it first: gunzip",
        ),
        ("a.zst", b"\x28\xb5\x2f\xfd\0\0", "zstd"),
        ("a.parquet", b"PAR1\0\0", "is a Parquet file"),
        ("a.db", b"SQLite format 3\0", "is an SQLite database"),
        ("a.xlsx", _zip("[Content_Types].xml", "xl/workbook.xml"), "is an Excel file"),
        ("a.docx", _zip("word/document.xml"), "is a Word file"),
        ("a.zip", _zip("a.jsonl"), "is a ZIP archive"),
        ("a.pdf", b"%PDF-1.7\n", "is a PDF file"),
        ("a.gguf", b"GGUF\3\0\0\0", "is a GGUF model"),
        ("a.txt", b"one\ntwo\0\n", "is no text; byte 7 is zero"),
        ("a.txt", "caf\u00e9\n".encode("latin-1"), "is not UTF-8 text; byte 3; if it is Latin-1"),
    ],
)
def test_what_is_neither_rows_nor_prose_is_named_with_a_cure(tmp_path, name, content, named):
    assert named in refusal(tmp_path, content, name)


def test_a_folder_is_answered_with_a_file_in_it(tmp_path):
    (tmp_path / "chats.jsonl").write_text("{}")
    with pytest.raises(UsageError, match=r"Is a directory.*such as .*chats\.jsonl"):
        next(read_examples(tmp_path))


@pytest.mark.parametrize(
    "prose",
    [
        "The question, the answer\nand more, as ever.\n",
        "question: why?\nanswer: because.\n",
        "---\ntitle: a page\n---\nOf words.\n",
        "- a list\n- of points\n",
        "a|b\n|-|-|\n|1|2|\n",
        "<b>bold</b> words\n",
        "text\n",
    ],
)
def test_prose_stays_prose(tmp_path, prose):
    assert read(tmp_path, prose, "a.txt") == [Text("", prose)]


FIELD = st.text(alphabet='a ,;\t|"\n\u00e9', min_size=1, max_size=6).filter(str.strip)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=4), separator=st.sampled_from(",;\t|"))
def test_what_a_table_writer_writes_comes_back(tmp_path, rows, separator):
    import csv

    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows([("question", "answer"), *rows])
    found = [tuple(message["content"] for message in example.messages) for example in read_examples(path)]
    assert found == rows


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["a", "a.txt", "a.csv", "a.json", "a.yaml"]),
    head=st.binary(max_size=80)
    | st.text(alphabet='[{"question,answer:;\n -<?x', max_size=60).map(str.encode),
)
def test_any_bytes_have_a_kind_or_a_refusal(tmp_path_factory, name, head):
    path = tmp_path_factory.getbasetemp() / name
    try:
        assert kind_of(path, head) in Kind
    except UsageError as error:
        assert str(path) in str(error)
    path.write_bytes(head)
    try:
        assert all(isinstance(example, Conversation | Text) or example for example in read_examples(path))
    except UsageError as error:
        assert str(path) in str(error)


def test_other_verbs_are_told_that_a_text_is_data(tmp_path):
    told = [
        not_prose(tmp_path / name, raw.encode())
        for name, raw in (
            ("a.jsonl", '{"text": "a"}'),
            ("a.csv", "x,y\n1,2\n"),
            ("a.html", "<p>"),
            ("a.txt", "Words of a book.\n"),
        )
    ]
    assert [each.partition(": ")[0].rpartition("is ")[2] for each in told] == [
        "JSON lines",
        "a table (CSV)",
        "an HTML file",
        "",
    ]
    with pytest.raises(UsageError, match="is compressed with gzip"):
        not_prose(tmp_path / "a.gz", gzip.compress(b"a", mtime=0))
