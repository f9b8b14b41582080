"""A model file that changes under a running engine: its request fails and says where, the next is right."""

import contextlib
import json
import shutil

import pytest

from sixgig.engines import BrokenConnectionError
from sixgig.errors import PurposeError, ReadError
from sixgig.gateway.answer import status_of
from sixgig.server.shapes import error_body
from tests.paged.test_failures import Original, change, cut, empty
from tests.serve.engine_processes import completion, own_completion, running, smallest_budget
from tests.serve.loops import in_loop
from tests.tiny.renamed import renamed


@in_loop
async def test_a_model_that_is_asked_for_what_it_is_not_made_for_is_the_clients_error(tiny, tmp_path):
    """Known once the engine has been asked; clients must not ask again, nor take the server for broken."""
    model = renamed(tiny("llama", "Q8_0"), tmp_path / "llada.gguf", "llada", {})
    with pytest.raises(PurposeError, match=r"is a diffusion model \(llada\)") as refused:
        async with running(model):
            pass
    assert status_of(refused.value) == 400
    said = json.loads(error_body("openai", 400, refused.value))["error"]
    assert said["type"] == "invalid_request_error" and "llama-diffusion-cli" in said["message"]


@pytest.mark.parametrize("damage", [cut, change, empty])
@in_loop
async def test_a_damaged_file_fails_the_request_and_a_restored_one_serves_the_next(
    tiny, tmp_path, damage, monkeypatch
):
    source = tiny("qwen3moe", n_experts=32)
    model = shutil.copy(source, tmp_path / "model.gguf")
    budget = await smallest_budget(model, always_page=True)
    async with running(model, always_page=True, ram_bytes=budget) as engine:
        expected = await completion(engine)
        assert expected == own_completion(source, always_page=True)
        original = Original(model)
        damage(model)
        for _ in range(2):
            answer = await engine.client.post("/completion", json={"prompt": [5, 6, 7], "n_predict": 8})
            assert answer.status_code >= 500, answer.text
            failure = await engine.failure()
            assert isinstance(failure, ReadError)
            assert str(model) in str(failure)
            assert " at byte " in str(failure)
            assert await engine.failure() is failure
        original.restore()
        assert await completion(engine) == expected
        with monkeypatch.context() as patch:
            patch.setattr("sixgig.engines.process.FRESH_S", 0)
            assert await engine.failure() is None
        assert engine.alive


@in_loop
async def test_a_file_damaged_in_mid_stream_ends_the_stream_with_an_error(tiny, tmp_path):
    model = shutil.copy(tiny("qwen3moe", n_experts=32), tmp_path / "model.gguf")
    budget = await smallest_budget(model, always_page=True)
    async with running(model, always_page=True, ram_bytes=budget) as engine:
        body = {"prompt": [5, 6, 7], "n_predict": 400, "stream": True, "ignore_eos": True}
        said = b""
        async with engine.client.stream("/completion", json.dumps(body).encode()) as answer:
            with contextlib.suppress(BrokenConnectionError):
                async for piece in answer.aiter_raw():
                    if not said:
                        empty(model)
                    said += piece
        assert b'"error"' in said
        assert isinstance(await engine.failure(), ReadError)
