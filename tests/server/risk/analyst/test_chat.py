# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a model is told who says what: by its template, by its vocabulary, and never by what somebody wrote."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from inference_server.risk.analyst.language_model import LanguageRequest, Refused
from inference_server.risk.analyst.llama.chat import (
    Render,
    TemplateError,
    Turns,
    chatml,
    conversation,
    nemotron_mini,
)
from tests.support.gguf_files import write_hybrid
from tests.support.language import LEVELS, judge, llama
from tests.support.weights import language_model_path

TURNS = [("system", "Judge."), ("user", "A cat.")]
NEMOTRON_3 = """{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + (message.content | trim) + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{%- if enable_thinking is not defined or enable_thinking -%}{{- '<|im_start|>assistant\\n<think>\\n' -}}
{%- else -%}{{- '<|im_start|>assistant\\n<think></think>' -}}{%- endif -%}
{%- endif -%}"""
"""The part about thinking, as NVIDIA's template for Nemotron 3 Nano has it."""
ALWAYS_THINKS = NEMOTRON_3.replace("enable_thinking is not defined or enable_thinking", "true")
NO_SYSTEM = """{%- for message in messages -%}
{%- if message.role == 'system' -%}{{ raise_exception('no system') }}{%- endif -%}
[{{ message.role }}]{{ message.content }}
{%- endfor -%}[model]"""


def _of(template: str) -> Render:
    formatter = Jinja2ChatFormatter(template, eos_token="</s>", bos_token="<s>")

    def render(turns: Turns, thinking: bool) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        return str(formatter(messages=messages, enable_thinking=thinking).prompt)  # type: ignore[arg-type,unused-ignore]

    return render


def _read(turns: Turns, render: Render, *, thinking: bool = False) -> str:
    return "".join(part.text for part in conversation(turns, render, thinking=thinking).parts)


def test_nemotron_3_is_told_not_to_think_unless_it_may() -> None:
    said = "<|im_start|>system\nJudge.<|im_end|>\n<|im_start|>user\nA cat.<|im_end|>\n<|im_start|>assistant\n"
    assert _read(TURNS, _of(NEMOTRON_3)) == f"{said}<think></think>"
    assert _read(TURNS, _of(NEMOTRON_3), thinking=True) == f"{said}<think>\n"
    assert conversation(TURNS, _of(NEMOTRON_3), thinking=True).thinks
    assert not conversation(TURNS, _of(NEMOTRON_3), thinking=False).thinks


def test_a_template_that_always_thinks_has_its_thought_closed() -> None:
    found = conversation(TURNS, _of(ALWAYS_THINKS), thinking=False)
    assert not found.thinks
    assert found.parts[-1].text.endswith("<think></think>")


def test_nemotron_mini_has_the_format_of_its_model_card() -> None:
    turns = [*TURNS, ("assistant", "Low."), ("user", "A dog.")]
    assert _read(turns, nemotron_mini) == (
        "<extra_id_0>System\nJudge.\n\n<extra_id_1>User\nA cat.\n<extra_id_1>Assistant\nLow.\n"
        "<extra_id_1>User\nA dog.\n<extra_id_1>Assistant\n"
    )
    assert _read(TURNS[1:], nemotron_mini) == "<extra_id_0>System\n\n<extra_id_1>User\nA cat.\n<extra_id_1>Assistant\n"


def test_a_template_that_knows_no_system_gets_its_text_from_the_user() -> None:
    assert _read(TURNS, _of(NO_SYSTEM)) == "[user]Judge.\n\nA cat.[model]"


@pytest.mark.parametrize(
    "template",
    [
        "nothing",
        "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
        "{% for m in messages | reverse %}{{ m.content }}{% endfor %}",
        "{{ messages[9].content }}",
        "{{ ''.__class__.__mro__ }}{% for m in messages %}{{ m.content }}{% endfor %}",
        "{% for i in range(10**9) %}x{% endfor %}",
    ],
)
def test_a_template_that_loses_turns_or_repeats_texts_is_not_used(template: str) -> None:
    with pytest.raises(TemplateError):
        conversation([*TURNS, ("assistant", "Low."), ("user", "A dog.")], _of(template), thinking=False)


@given(st.lists(st.text(), min_size=2, max_size=4), st.sampled_from([chatml, nemotron_mini, _of(NEMOTRON_3)]))
def test_every_text_is_a_part_of_its_own_and_none_is_trusted(texts: list[str], render: Render) -> None:
    turns = [("system" if number == 0 else "user", text) for number, text in enumerate(texts)]
    found = conversation(turns, render, thinking=False)
    assert [part.text for part in found.parts if not part.trusted] == texts
    assert found.parts[: found.prefix_parts][-1].trusted
    assert [part.text for part in found.parts[: found.prefix_parts] if not part.trusted] == texts[:1]


@pytest.fixture
def thinker(tmp_path: Path) -> Path:
    """A hybrid of random numbers with the template of Nemotron 3 Nano."""
    path = tmp_path / "thinker.gguf"
    write_hybrid(path, language_model_path(), template=NEMOTRON_3)
    return path


async def test_what_a_model_thinks_comes_before_the_schema_and_is_no_part_of_the_answer(thinker: Path) -> None:
    pieces: list[str] = []
    async with llama(thinker, thinking=True) as model:
        thoughtful = await model.answer(judge("a cat", prefix=""), pieces.append)
    async with llama(thinker) as model:
        quick = await model.answer(judge("a cat", prefix=""))
    assert LEVELS.problem(thoughtful.value) is None
    assert LEVELS.problem(quick.value) is None
    assert thoughtful.tokens_out > 500, "a model of random numbers does not stop thinking by itself"
    assert quick.tokens_out < 64
    assert "".join(pieces).strip() == thoughtful.text


@pytest.mark.parametrize("template", ["{{ raise_exception('never') }}", NO_SYSTEM])
async def test_a_model_whose_template_is_broken_answers_all_the_same(tmp_path: Path, template: str) -> None:
    path = tmp_path / "model.gguf"
    write_hybrid(path, language_model_path(), template=template)
    async with llama(path) as model:
        assert LEVELS.problem((await model.answer(judge("a cat", prefix="Judge."))).value) is None


async def test_a_model_whose_template_is_no_template_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_hybrid(path, language_model_path(), template="{% for %}")
    async with llama(path) as model:
        with pytest.raises(Refused, match="cannot be loaded: TemplateSyntaxError"):
            await model.load()


async def test_another_version_of_the_library_answers_without_its_private_parts(
    hybrid: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = _with_version("9.9.9")
    async with llama(hybrid, command=command) as model:
        answers = [await model.answer(judge(prompt)) for prompt in ("a cat", "a dog")]
        assert all(LEVELS.problem(answer.value) is None for answer in answers)
        cancelled = await model.answer(LanguageRequest(prompt="x", max_tokens=3))
        assert cancelled.tokens_out == 3
    assert "llama-cpp-python 9.9.9 is not 0.3.36" in caplog.text


def _with_version(version: str) -> tuple[str, ...]:
    """Return the command of a worker that takes its library for another version."""
    start = (
        f"import llama_cpp, runpy; llama_cpp.__version__ = {version!r}; "
        "runpy.run_module('inference_server.risk.analyst.llama.worker', run_name='__main__')"
    )
    return (sys.executable, "-c", start)
