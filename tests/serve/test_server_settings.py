"""The configuration: read as written; every wrong field is told by its place, on one line, no secrets."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.settings import Settings, load_settings
from tests.serve.fixed_keys import fixed_key

SECRET, DIGEST = fixed_key("one")
UPSTREAM = """
[[upstreams]]
name = "box"
base_url = "http://10.0.0.5:8000"
models = {small = "big"}
input_price = 0
output_price = 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "serve.toml"


def load(file: Path, text: str | bytes) -> Settings:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_settings(file)


def complaint(file: Path, text: str | bytes) -> str:
    with pytest.raises(UsageError) as caught:
        load(file, text)
    message = str(caught.value)
    assert message.isprintable(), "one line, whatever the file holds"
    assert not any(jargon in message.lower() for jargon in ("pydantic", "input should", "value error"))
    return message


def test_an_empty_file_gives_the_defaults(file: Path) -> None:
    server = load(file, "").server
    assert (server.host, server.port, server.keep_alive_s, server.queue) == ("127.0.0.1", 8333, 300.0, 64)
    assert (server.parallel, server.context, server.ram_bytes, server.max_body_bytes) == (
        4,
        None,
        None,
        4 << 20,
    )
    assert not (server.private_by_default or server.log_prompts or server.allowed_hosts)


def test_every_section_is_read(file: Path) -> None:
    read = load(
        file,
        f"""
        [server]
        host = "::"
        keep_alive = "forever"
        ram = "6G"
        vram = 1073741824
        max_body = "1M"
        allowed_hosts = ["Chat.Example.org", "*.example.org", "[2001:DB8:0::1]"]
        allowed_origins = ["HTTPS://Chat.example.org:443/", "http://localhost:3000"]
        trusted_proxies = ["10.0.0.7", "2001:DB8::/32"]
        [[keys]]
        name = "laptop"
        sha256 = "{DIGEST.upper()}"
        private = true
        [models."qwen:30b"]
        path = "hf:owner/repo:Q4_K_M"
        keep_alive = 60
        [energy]
        meter = "wall"
        price_per_kwh = 0.1
        wall_idle_watts = 10
        wall_busy_watts = 65.5
        {UPSTREAM}
        [[rules]]
        when = "model_missing"
        upstream = "box"
        [spending]
        per_day = "2.50"
        """,
    )
    assert (read.server.host, read.server.keep_alive_s) == ("::", -1.0)
    assert (read.server.ram_bytes, read.server.vram_bytes, read.server.max_body_bytes) == (
        6 << 30,
        1 << 30,
        1 << 20,
    )
    assert read.server.allowed_hosts == ("chat.example.org", "*.example.org", "2001:db8::1")
    assert read.server.trusted_proxies == ("10.0.0.7", "2001:db8::/32")
    assert read.server.allowed_origins == ("https://chat.example.org", "http://localhost:3000")
    assert (read.keys[0].sha256, read.keys[0].private) == (DIGEST, True)
    assert (read.models["qwen:30b"].path, read.models["qwen:30b"].keep_alive_s) == (
        "hf:owner/repo:Q4_K_M",
        60.0,
    )
    assert read.energy.price_per_kwh == Decimal("0.1")
    assert (read.upstream("box").base_url, read.rules[0].upstream) == ("http://10.0.0.5:8000/v1", "box")
    assert read.spending.per_day == Decimal("2.50")


def test_relative_paths_are_relative_to_the_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[models.m]\npath = "a/b.gguf"\nadapter = "../c.gguf"\n[models.n]\npath = "~/f"'
    text += '\n[ledger]\npath = "/d/e.db"'
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", "/home/me")
    file.write_text(text)
    for read in (load_settings(file), load_settings(Path("../serve.toml"))):
        assert Path(read.models["m"].path).resolve() == tmp_path / "a/b.gguf"
        assert read.models["m"].adapter is not None
        assert read.models["m"].adapter.resolve() == tmp_path.parent / "c.gguf"
        assert (read.models["n"].path, read.ledger.path) == ("/home/me/f", Path("/d/e.db"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server]\nport = 99999", "[server] port: must be at most 65535, found 99999"),
        ("[server]\nport = '8333'", "[server] port: must be a whole number, found '8333'"),
        ("[server]\nport = true", "[server] port: must be a whole number, found true"),
        ("[server]\nport = 1979-05-27", "[server] port: must be a whole number, found 1979-05-27"),
        ("[server]\nport = {a = 1}", "[server] port: must be a whole number, found a table"),
        ("[server]\nprot = 1", "[server] prot: is unknown; did you mean port?"),
        ("[server]\nram_bytes = 1", "[server] ram_bytes: is unknown"),
        ("[sever]\nport = 1", "[sever]: is unknown; did you mean server?"),
        ("server = 3", "[server]: must be a table, found 3"),
        ("[server]\nram = 'lots'", "[server] ram: 'lots' is not a size; write a size such as"),
        ("[server]\nram = 1.5", "[server] ram: must be a size such as"),
        ("[server]\nram = '0'", "[server] ram: must be at least 1"),
        ("[server]\nkeep_alive = 'soon'", "[server] keep_alive: 'soon' is not a duration"),
        ("[server]\nkeep_alive = nan", "[server] keep_alive: 'nan' is not a duration"),
        ("[server]\nkeep_alive = []", "[server] keep_alive: must be a duration such as"),
        ("[server]\nparallel = 257", "[server] parallel: must be at most 256, found 257"),
        ("[server]\ncontext = 0", "[server] context: must be at least 1, found 0"),
        ("[server]\nhost = ''", "[server] host: must be a name or an address"),
        ("[server]\nhost = 'a b'", "[server] host: must be a name or an address"),
        ("[server]\nhost = 'a/b'", "[server] host: must be a name or an address"),
        ("[server]\nallowed_hosts = 'x'", "[server] allowed_hosts: must be a list, found 'x'"),
        (
            "[server]\nallowed_hosts = ['a', 'b:80']",
            "[server] allowed_hosts[1]: must be a name without scheme",
        ),
        ("[server]\nallowed_hosts = ['*x.org']", "[server] allowed_hosts[0]: must be a name"),
        ("[server]\nallowed_hosts = ['a.*.org']", "[server] allowed_hosts[0]: must be a name"),
        (
            "[server]\nallowed_origins = ['x.org']",
            "[server] allowed_origins[0]: must be scheme, host and port",
        ),
        (
            "[server]\nallowed_origins = ['null']",
            "[server] allowed_origins[0]: must be scheme, host and port",
        ),
        (
            "[server]\ntrusted_proxies = ['*']",
            "[server] trusted_proxies[0]: must be an address or a network",
        ),
        ("[server]\ntrusted_proxies = ['10.0.0.1/8']", "[server] trusted_proxies[0]: must be an address"),
        ("[models.x]", "[models.x] path: is missing"),
        ("[models.x]\npath = ''", "[models.x] path: must be the path of a file"),
        ("[models.x]\npath = 'a\\u0000b'".replace("'", '"'), "[models.x] path: must be the path of a file"),
        ("[models.x]\npath = 'hf:nothing'", "[models.x] path: 'hf:nothing' names no repository"),
        ("[models.x]\npath = 3", "[models.x] path: must be text in quotes, found 3"),
        (
            "[models.x]\npath = 'a'\npooling = 'max'",
            "[models.x] pooling: must be 'mean', 'cls' or 'last', found 'max'",
        ),
        (
            "[models.x]\npath = 'a'\nadapter = 'hf'\ncontxt = 1",
            "[models.x] contxt: is unknown; did you mean context?",
        ),
        ("[models.'a b']\npath = 'a'", "[models.'a b']: a model's name has up to 128 letters"),
        ("[models.'../x']\npath = 'a'", "[models.'../x']: a model's name"),
        ("[models.x]\npath='a'\n[models.'X:latest']\npath='b'", "models: more than one answers to x"),
        ("[[keys]]\nname = 'a'", "keys[0].sha256: is missing"),
        (f"[[keys]]\nname = 'a b'\nsha256 = '{DIGEST}'", "keys[0].name: must be 1 to 64 letters"),
        (
            f"[[keys]]\nname='a'\nsha256='{DIGEST}'\n[[keys]]\nname='A'\nsha256='{'0' * 64}'",
            "keys: more than one is named a",
        ),
        (
            f"[[keys]]\nname='a'\nsha256='{DIGEST}'\n[[keys]]\nname='b'\nsha256='{DIGEST}'",
            "keys: two have the same sha256",
        ),
        ("[keys]\nname = 'a'", "[keys]: must be a list"),
        (
            "[energy]\nmeter = 'sun'",
            "[energy] meter: must be 'auto', 'zeus', 'rapl', 'wall' or 'none', found 'sun'",
        ),
        ("[energy]\nwall_idle_watts = inf", "[energy] wall_idle_watts: must be a finite number, found inf"),
        ("[energy]\nwall_idle_watts = -1", "[energy] wall_idle_watts: must be at least 0, found -1"),
        ("[energy]\nprice_per_kwh = 'dear'", "[energy] price_per_kwh: must be an amount"),
        ("[energy]\ncurrency = 'euro'", "[energy] currency: must be three capital letters"),
        (UPSTREAM + "timeout_s = 0", "upstreams[0].timeout_s: must be above 0"),
        ("[[rules]]\nwhen = 'never'\nupstream = 'x'", "rules[0].when: must be 'model_missing', "),
        (
            "[[rules]]\nwhen='queue_longer_than'\nvalue='x'\nupstream='x'",
            "rules[0].value: must be a whole number",
        ),
        ("[[rules]]\nwhen = 'model_missing'\nupstream = 'x'", "rules[0].upstream: there is no upstream 'x'"),
        ("[spending]\nper_year = 3", "[spending] per_year: is unknown"),
        (f"[server]\nport = {10**300}", "[server] port: must be at most 65535"),
    ],
)
def test_a_wrong_field_is_told_by_its_place(file: Path, text: str, told: str) -> None:
    message = complaint(file, text)
    assert message.startswith(f"serve.toml: {told}"), message
    assert message.count(" | ") == 0, "one fault, one clause"


def test_every_wrong_field_is_in_the_one_line(file: Path) -> None:
    message = complaint(file, "[server]\nport = -1\nqueue = -1\n[models.x]\n[energy]\nmeter = 1")
    clauses = message.removeprefix("serve.toml: ").removesuffix("; mend the file").split(" | ")
    assert [clause.partition(":")[0] for clause in clauses] == [
        "[server] port",
        "[server] queue",
        "[models.x] path",
        "[energy] meter",
    ]


def test_a_file_of_nothing_but_faults_stays_readable(file: Path) -> None:
    message = complaint(file, "[server]\n" + "\n".join(f"x{number} = 1" for number in range(5000)))
    assert "and 4980 more" in message and len(message) < 10_000


@pytest.mark.parametrize(
    "text",
    [
        f"[[keys]]\nname = 'a'\nsha256 = '{SECRET}'",
        f"[[keys]]\nname = 'a'\nsecret = '{SECRET}'\nsha256 = '{DIGEST}'",
        f"[[keys]]\nname = ['{SECRET}']\nsha256 = '{DIGEST}'",
        f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\nprivate = '{SECRET}'",
        f"[server]\napi_key = '{SECRET}'",
        f"[server]\nport = '{SECRET}'",
        f"keys = '{SECRET}'",
        UPSTREAM + f"api_key_env = '{SECRET}'",
        UPSTREAM + f"api_key = '{SECRET}'",
        UPSTREAM + f"context = '{SECRET}'",
    ],
)
def test_a_secret_in_the_file_is_refused_and_never_repeated(file: Path, text: str) -> None:
    assert SECRET[:12] not in complaint(file, text)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_settings_or_a_usage_error(tmp_path: Path, content: bytes) -> None:
    try:
        load(tmp_path / "any.toml", content)
    except UsageError as error:
        assert str(error).isprintable()


VALUES = st.recursive(
    st.integers() | st.floats() | st.booleans() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = st.sampled_from(
    ["server", "keys", "models", "energy", "ledger", "upstreams", "rules", "spending", "else"]
)
FIELDS = st.sampled_from(
    [
        "host",
        "port",
        "ram",
        "name",
        "sha256",
        "path",
        "x",
        "when",
        "value",
        "upstream",
        "models",
        "keep_alive",
    ]
)
TABLES = st.dictionaries(FIELDS, VALUES, max_size=4)


@given(
    st.dictionaries(
        SECTIONS, VALUES | TABLES | st.lists(TABLES, max_size=2) | st.dictionaries(FIELDS, TABLES)
    )
)
def test_any_document_is_settings_or_clauses_without_jargon(document: dict[str, object]) -> None:
    import sixgig.settings.sections as room

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "read_toml", lambda path: document)
        try:
            load_settings(Path("any.toml"))
        except UsageError as error:
            message = str(error)
            assert message.isprintable()
            assert "Input should" not in message and "[key]" not in message


@pytest.mark.parametrize(
    "text",
    [
        UPSTREAM + "context = 'any-form-of-secret'",
        f"[[keys]]\nname = 'a'\nsha256 = '{DIGEST}'\nprivate = 'any-form-of-secret'",
    ],
)
def test_what_stands_where_secrets_may_be_is_never_repeated(file: Path, text: str) -> None:
    assert "any-form" not in complaint(file, text)
