"""LlamaIndex's integration of APIs like OpenAI's, pointed at the gateway."""

import unittest

import openai
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from stack import DOT, KEY, LIMITED_KEY, URL, WRONG_KEY, fault


class Invoice(BaseModel):
    """An invoice."""

    number: str
    total: int
    paid: bool


def get_weather(city: str) -> str:
    """What the weather is in a city."""
    return f"Rain in {city}."


WEATHER = FunctionTool.from_defaults(get_weather)


def model(name="sim-small", key=KEY, **settings):
    return OpenAILike(
        model=name,
        api_base=URL,
        api_key=key,
        context_window=128_000,
        is_chat_model=True,
        is_function_calling_model=True,
        **{"max_retries": 0, **settings},
    )


def said(text):
    return [ChatMessage(role="user", content=text)]


class Chat(unittest.TestCase):
    def test_an_answer_has_words_and_usage(self):
        answer = model("auto").chat(said("Say hello"))
        self.assertIn("Say hello", answer.message.content)
        self.assertGreater(answer.raw.usage.total_tokens, 0)
        self.assertIn("Say hello", model().complete("Say hello").text)

    def test_a_stream_says_the_same_in_parts(self):
        whole = model().chat(said("Say hello")).message.content
        parts = list(model().stream_chat(said("Say hello")))
        self.assertGreater(len(parts), 3)
        self.assertEqual("".join(part.delta or "" for part in parts), whole)

    def test_a_picture_is_seen(self):
        blocks = [TextBlock(text="What is this?"), ImageBlock(url=DOT)]
        answer = model().chat([ChatMessage(role="user", blocks=blocks)])
        self.assertIn("You sent 1 image", answer.message.content)


class Tools(unittest.TestCase):
    def calls(self, question, **settings):
        answer = model().chat_with_tools([WEATHER], user_msg=question, **settings)
        return [call.tool_name for call in model().get_tool_calls_from_response(answer, error_on_no_tool_call=False)]

    def test_a_tool_is_called(self):
        self.assertEqual(self.calls("Please get_weather for Oslo"), ["get_weather"])
        answer = model().predict_and_call([WEATHER], user_msg="Please get_weather for Oslo")
        self.assertIn("Rain in", str(answer))

    def test_two_calls_come_at_once(self):
        twice = self.calls("Both cities: get_weather", allow_parallel_tool_calls=True)
        self.assertEqual(twice, ["get_weather"] * 2)


class StructuredOutput(unittest.TestCase):
    def test_an_answer_fits_its_class(self):
        answer = model().structured_predict(Invoice, PromptTemplate("Say hello"))
        self.assertIsInstance(answer, Invoice)


class Embeddings(unittest.TestCase):
    def test_texts_become_vectors(self):
        embeddings = OpenAILikeEmbedding(model_name="sim-small", api_base=URL, api_key=KEY, max_retries=0)
        self.assertEqual(len(embeddings.get_text_embedding_batch(["one", "two"])), 2)


class Failures(unittest.TestCase):
    def test_a_wrong_key(self):
        with self.assertRaises(openai.AuthenticationError):
            model(key=WRONG_KEY).chat(said("Say hello"))

    def test_an_unknown_model(self):
        with self.assertRaises(openai.NotFoundError):
            model("no-such-model").chat(said("Say hello"))

    def test_a_provider_that_asks_for_patience(self):
        with fault("429", model="sim-large"), self.assertRaises(openai.RateLimitError):
            model("sim-large").chat(said("Say hello"))

    def test_a_key_that_has_had_its_share(self):
        limited = model(key=LIMITED_KEY)
        with self.assertRaises(openai.RateLimitError):
            for _ in range(3):
                limited.chat(said("Say hello"))

    def test_a_failure_that_passes_is_tried_again(self):
        with fault("503", model="sim-large", next=1):
            answer = model("sim-large", max_retries=4).chat(said("Say hello"))
        self.assertIn("Say hello", answer.message.content)


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_answers_and_streams(self):
        answer = await model().achat(said("Say hello"))
        stream = await model().astream_chat(said("Say hello"))
        parts = [part.delta or "" async for part in stream]
        self.assertEqual("".join(parts), answer.message.content)
