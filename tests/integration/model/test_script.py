"""A model that is played from a file."""

import json
from pathlib import Path

import pytest

from apex_fast.adapters.script.model import ScriptedModel
from apex_fast.ports.model import ModelError, ModelRequest
from tests.support.gateway import served
from tests.support.patience import PATIENCE_S

REQUEST = ModelRequest(system="You plan.", prompt="Where is it warm?", schema={}, schema_name="answer")
WORKFLOW = {
    "name": "warm",
    "version": "1",
    "nodes": [{"id": "look", "type": "agent", "config": {"prompt": "Where is it warm?"}}],
}


async def test_the_first_entry_that_fits_answers_and_the_file_may_change(tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    model = ScriptedModel(file)
    with pytest.raises(ModelError, match="No such file"):
        await model.answer(REQUEST)
    file.write_text(json.dumps([{"asked": "cold", "answer": {"city": "Oslo"}}, {"asked": "warm", "answer": {"n": 1}}]))
    assert (await model.answer(REQUEST)).text == b'{"n":1}'
    file.write_text(json.dumps([{"asked": "plan", "answer": {"n": 2}}]))
    assert (await model.answer(REQUEST)).text == b'{"n":2}'
    for wrong in ([], [{"asked": "warm", "answer": []}], {"asked": "warm"}):
        file.write_text(json.dumps(wrong))
        with pytest.raises(ModelError) as refused:
            await model.answer(REQUEST)
        assert (refused.value.fault, refused.value.retryable) == ("REFUSED", False)


async def test_an_agent_asks_it(tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    file.write_text(json.dumps([{"asked": "warm", "answer": {"text": "Seville"}}]))
    async with served(tmp_path, {"APEX_PLANNER_MODEL": f"script:{file}"}) as house:
        await house.client.register(WORKFLOW)
        run = await house.client.start("warm")
        assert (await run.result(PATIENCE_S))["look"]["text"] == "Seville"
