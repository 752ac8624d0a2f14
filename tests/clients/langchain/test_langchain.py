"""LangChain's integration of OpenAI's API, pointed at the gateway."""

import unittest

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from stack import DOT, KEY, LIMITED_KEY, URL, WRONG_KEY, fault


class Invoice(BaseModel):
    """An invoice."""

    number: str
    total: int
    paid: bool


@tool
def get_weather(city: str) -> str:
    """What the weather is in a city."""
    return f"Rain in {city}."


def chat(model="sim-small", key=KEY, **settings):
    return ChatOpenAI(base_url=URL, api_key=key, model=model, **{"max_retries": 0, **settings})


class Chat(unittest.TestCase):
    def test_an_answer_has_words_and_usage(self):
        answer = chat("auto").invoke("Say hello")
        self.assertIn("Say hello", answer.content)
        self.assertGreater(answer.usage_metadata["total_tokens"], 0)

    def test_a_stream_says_the_same_in_parts(self):
        parts = list(chat(stream_usage=True).stream("Say hello"))
        self.assertGreater(len(parts), 3)
        self.assertEqual("".join(part.content for part in parts), chat().invoke("Say hello").content)
        used = [part.usage_metadata for part in parts if part.usage_metadata]
        self.assertGreater(used[-1]["output_tokens"], 0)

    def test_several_at_once(self):
        answers = chat().batch(["Say one", "Say two"])
        self.assertEqual(["Say one" in answers[0].content, "Say two" in answers[1].content], [True, True])

    def test_a_picture_is_seen(self):
        content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": DOT}}]
        self.assertIn("You sent 1 image", chat().invoke([HumanMessage(content)]).content)


class Tools(unittest.TestCase):
    def test_a_tool_is_called_and_its_answer_understood(self):
        model = chat().bind_tools([get_weather])
        question = HumanMessage("Please get_weather for Oslo")
        answer = model.invoke([question])
        (call,) = answer.tool_calls
        result = get_weather.invoke(call)
        self.assertIsInstance(result, ToolMessage)
        self.assertIn("The tool answered: Rain in", model.invoke([question, answer, result]).content)

    def test_two_calls_come_at_once_also_in_a_stream(self):
        model = chat().bind_tools([get_weather])
        self.assertEqual(len(model.invoke("Both cities: get_weather").tool_calls), 2)
        whole = None
        for part in model.stream("Both cities: get_weather"):
            whole = part if whole is None else whole + part
        self.assertEqual([call["name"] for call in whole.tool_calls], ["get_weather"] * 2)


class StructuredOutput(unittest.TestCase):
    def test_an_answer_fits_its_class_in_each_way(self):
        for method in ("json_schema", "function_calling"):
            with self.subTest(method):
                model = chat().with_structured_output(Invoice, method=method)
                self.assertIsInstance(model.invoke("Say hello"), Invoice)


class Embeddings(unittest.TestCase):
    def test_texts_become_vectors(self):
        # The library would else send tokens, with a vocabulary that it fetches from elsewhere.
        embeddings = OpenAIEmbeddings(
            base_url=URL, api_key=KEY, model="sim-small", check_embedding_ctx_length=False, max_retries=0
        )
        self.assertEqual(len(embeddings.embed_documents(["one", "two"])), 2)
        self.assertTrue(embeddings.embed_query("one"))


class Failures(unittest.TestCase):
    def test_a_wrong_key(self):
        with self.assertRaises(openai.AuthenticationError):
            chat(key=WRONG_KEY).invoke("Say hello")

    def test_an_unknown_model(self):
        with self.assertRaises(openai.NotFoundError):
            chat("no-such-model").invoke("Say hello")

    def test_a_provider_that_asks_for_patience(self):
        with fault("429", model="sim-large"), self.assertRaises(openai.RateLimitError):
            chat("sim-large").invoke("Say hello")

    def test_a_key_that_has_had_its_share(self):
        limited = chat(key=LIMITED_KEY)
        with self.assertRaises(openai.RateLimitError):
            for _ in range(3):
                limited.invoke("Say hello")

    def test_a_failure_that_passes_is_tried_again(self):
        with fault("503", model="sim-large", next=1):
            self.assertIn("Say hello", chat("sim-large", max_retries=4).invoke("Say hello").content)


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_answers_and_streams(self):
        answer = await chat().ainvoke("Say hello")
        parts = [part.content async for part in chat().astream("Say hello")]
        self.assertEqual("".join(parts), answer.content)
