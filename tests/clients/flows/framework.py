"""An agent framework (Pydantic AI) behind Placet: the example that the documentation leads to, with a model that follows a plan.

Reads its stage as JSON from standard input, like `mcp_python.py`, and prints a line of JSON: `{"name", "told"}` or
`{"name", "failed"}`. Only the model is ours, and it reads what any model would: tools, their schemas, and their answers.
"""

import asyncio
import json
import sys
import traceback
from pathlib import Path

import httpx2
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import FunctionModel

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "agents"))
import support  # noqa: E402, it is found only now


def read(part):
    """What a model makes of a tool's answer."""
    return part.content if isinstance(part.content, dict) else json.loads(part.content)


def planned(seen):
    """A model that reads a note and then writes to it as it was told to, as far as it is let."""

    def answer(messages, info):
        last = messages[-1].parts[-1]
        tools = {tool.name: tool for tool in info.function_tools}
        if isinstance(last, UserPromptPart):
            text = last.content
            if text == "what does it say?":
                assert tools["notes__read"].parameters_json_schema["required"] == ["id"], tools
                return ModelResponse(parts=[ToolCallPart("notes__read", {"id": "n1"})])
            return ModelResponse(parts=[ToolCallPart("notes__write", {"id": "n1", "text": text})])
        assert isinstance(last, ToolReturnPart), last
        seen.append((last.tool_name, last.outcome, read(last)))
        told = read(last)
        return ModelResponse(parts=[TextPart(json.dumps(told.get("approval", told.get("code", told.get("body")))))])

    return FunctionModel(answer)


async def works_at_a_desk(stage):
    known = stage["framework"]
    environment = {
        "PLACET": stage["issuer"],
        "PLACET_CLIENT_ID": known["client_id"],
        "PLACET_CLIENT_SECRET": known["client_secret"],
    }
    seen = []
    agent = support.support(planned(seen), environment)
    async with agent:
        note = await agent.run("what does it say?")
        assert json.loads(note.output)["text"] == "remember the milk", note.output
        refused = await agent.run("forbidden")
        assert json.loads(refused.output) == "condition_failed", refused.output
        held = await agent.run("ask")
        async with httpx2.AsyncClient() as approver:
            approval = json.loads(held.output)["id"]
            (await approver.post(stage["approver"], content=approval, timeout=30)).raise_for_status()
        done = await agent.run("ask", message_history=held.all_messages())
        assert json.loads(done.output)["id"] == "n1", done.output
    outcomes = [outcome for _, outcome, _ in seen]
    assert outcomes == ["success", "failed", "failed", "success"], seen
    return ", ".join(f"{tool}: {outcome}" for tool, outcome, _ in seen)


async def main():
    line = {"name": "reads, is refused, is held and goes on"}
    try:
        line["told"] = await asyncio.wait_for(works_at_a_desk(json.load(sys.stdin)), 60)
    except BaseException:  # noqa: BLE001, it is told
        line["failed"] = traceback.format_exc()
    print(json.dumps(line), flush=True)


asyncio.run(main())
