"""OpenAI's own library for Python."""

import json
import unittest

import openai
from pydantic import BaseModel

from stack import DOT, KEY, LIMITED_KEY, URL, WRONG_KEY, call_ended_after, fault, last_call, not_yet

client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0)

HELLO = [{"role": "user", "content": "Say hello"}]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


class Invoice(BaseModel):
    number: str
    total: int
    paid: bool


def user(text):
    return [{"role": "user", "content": text}]


class Chat(unittest.TestCase):
    def test_an_answer_has_words_and_usage(self):
        answer = client.chat.completions.create(model="auto", messages=HELLO)
        self.assertIn("Say hello", answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_a_stream_says_the_same_in_parts(self):
        whole = client.chat.completions.create(model="sim-small", messages=HELLO)
        parts = list(client.chat.completions.create(model="sim-small", messages=HELLO, stream=True))
        said = "".join(part.choices[0].delta.content or "" for part in parts)
        self.assertEqual(said, whole.choices[0].message.content)
        self.assertEqual(parts[-1].choices[0].finish_reason, "stop")

    def test_usage_is_in_the_stream_when_it_is_asked_for(self):
        stream = client.chat.completions.create(
            model="sim-small", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        *before, last = stream
        self.assertEqual(last.choices, [])
        self.assertGreater(last.usage.completion_tokens, 0)
        self.assertTrue(all(part.usage is None for part in before))

    def test_helpers_for_streams_work(self):
        with client.chat.completions.stream(model="sim-small", messages=HELLO) as stream:
            kinds = {event.type for event in stream}
            said = stream.get_final_completion().choices[0].message.content
        self.assertLessEqual({"chunk", "content.delta", "content.done"}, kinds)
        self.assertIn("Say hello", said)

    def test_choices_stops_caps_and_probabilities(self):
        answer = client.chat.completions.create(
            model="sim-small", messages=HELLO, n=2, seed=7, logprobs=True, top_logprobs=2, max_completion_tokens=5
        )
        self.assertEqual(len(answer.choices), 2)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(len(answer.choices[0].logprobs.content), 5)
        self.assertEqual(len(answer.choices[0].logprobs.content[0].top_logprobs), 2)
        stopped = client.chat.completions.create(model="sim-small", messages=HELLO, stop=["hello"])
        self.assertNotIn("hello", stopped.choices[0].message.content)

    def test_a_picture_is_seen(self):
        content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": DOT}}]
        answer = client.chat.completions.create(model="sim-small", messages=user(content))
        self.assertIn("You sent 1 image", answer.choices[0].message.content)

    def test_the_gateway_tells_which_request_it_was(self):
        answer = client.chat.completions.with_raw_response.create(model="auto", messages=HELLO)
        self.assertTrue(answer.headers["x-request-id"].startswith("req_"))
        self.assertEqual(answer.headers["x-turnpike-requested-model"], "auto")
        # Which one is the policy's to choose, and now and then it explores another.
        self.assertEqual(answer.headers["x-turnpike-model"], answer.parse().model)


class Tools(unittest.TestCase):
    def test_a_tool_is_called_and_its_answer_understood(self):
        messages = user("Please get_weather for Oslo")
        answer = client.chat.completions.create(model="sim-small", messages=messages, tools=[WEATHER])
        message = answer.choices[0].message
        (call,) = message.tool_calls
        self.assertEqual((answer.choices[0].finish_reason, call.function.name), ("tool_calls", "get_weather"))
        self.assertIn("city", json.loads(call.function.arguments))
        messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "Rain."}]
        answer = client.chat.completions.create(model="sim-small", messages=messages, tools=[WEATHER])
        self.assertIn("The tool answered: Rain.", answer.choices[0].message.content)

    def test_two_calls_come_at_once_unless_that_is_not_wanted(self):
        ask = {"model": "sim-small", "messages": user("Both cities: get_weather"), "tools": [WEATHER]}
        both = client.chat.completions.create(**ask)
        self.assertEqual(len(both.choices[0].message.tool_calls), 2)
        one = client.chat.completions.create(**ask, parallel_tool_calls=False)
        self.assertEqual(len(one.choices[0].message.tool_calls), 1)

    def test_calls_are_streamed_in_parts(self):
        stream = client.chat.completions.create(
            model="sim-small", messages=user("Both cities: get_weather"), tools=[WEATHER], stream=True
        )
        arguments = {}
        for part in stream:
            for call in part.choices[0].delta.tool_calls or []:
                arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
        self.assertEqual(sorted(arguments), [0, 1])
        self.assertTrue(all("city" in json.loads(text) for text in arguments.values()))

    def test_a_tool_can_be_required(self):
        choice = {"type": "function", "function": {"name": "get_weather"}}
        answer = client.chat.completions.create(
            model="sim-small", messages=HELLO, tools=[WEATHER], tool_choice=choice
        )
        self.assertEqual(answer.choices[0].message.tool_calls[0].function.name, "get_weather")


class StructuredOutput(unittest.TestCase):
    def test_an_answer_fits_its_class(self):
        answer = client.chat.completions.parse(model="sim-small", messages=HELLO, response_format=Invoice)
        self.assertIsInstance(answer.choices[0].message.parsed, Invoice)

    def test_a_streamed_answer_fits_its_class(self):
        with client.chat.completions.stream(model="sim-small", messages=HELLO, response_format=Invoice) as stream:
            final = stream.get_final_completion()
        self.assertIsInstance(final.choices[0].message.parsed, Invoice)

    def test_any_json_can_be_asked_for(self):
        answer = client.chat.completions.create(
            model="sim-small", messages=HELLO, response_format={"type": "json_object"}
        )
        self.assertIsInstance(json.loads(answer.choices[0].message.content), dict)


class OtherEndpoints(unittest.TestCase):
    def test_models_are_listed_and_found(self):
        names = [model.id for model in client.models.list()]
        self.assertIn("auto", names)
        self.assertEqual(client.models.retrieve("auto").id, "auto")

    def test_texts_become_vectors(self):
        answer = client.embeddings.create(model="sim-small", input=["one", "two"], dimensions=64)
        self.assertEqual([len(item.embedding) for item in answer.data], [64, 64])

    def test_texts_are_moderated(self):
        answer = client.moderations.create(model="sim-small", input="a friendly text")
        self.assertFalse(answer.results[0].flagged)

    def test_the_old_endpoint_completes(self):
        answer = client.completions.create(model="sim-small", prompt="Once upon a time", max_tokens=8)
        self.assertTrue(answer.choices[0].text)
        stream = client.completions.create(model="sim-small", prompt="Once", max_tokens=8, stream=True)
        self.assertTrue("".join(part.choices[0].text for part in stream))

    @not_yet
    def test_the_new_endpoint_responds(self):
        self.assertTrue(client.responses.create(model="sim-small", input="Say hello").output_text)


class Failures(unittest.TestCase):
    def refused(self, kind, **changed):
        with self.assertRaises(kind) as caught:
            client.chat.completions.create(**{"model": "sim-small", "messages": HELLO, **changed})
        return caught.exception

    def test_a_wrong_key(self):
        with self.assertRaises(openai.AuthenticationError) as caught:
            openai.OpenAI(base_url=URL, api_key=WRONG_KEY).chat.completions.create(model="auto", messages=HELLO)
        self.assertEqual(caught.exception.code, "invalid_api_key")
        self.assertTrue(caught.exception.request_id.startswith("req_"))

    def test_an_unknown_model(self):
        error = self.refused(openai.NotFoundError, model="no-such-model")
        self.assertEqual((error.code, error.param), ("model_not_found", "model"))

    def test_a_request_that_makes_no_sense(self):
        self.refused(openai.BadRequestError, messages=[])

    def test_a_provider_that_asks_for_patience(self):
        with fault("429", model="sim-large"):
            self.refused(openai.RateLimitError, model="sim-large")

    def test_a_key_that_has_had_its_share(self):
        limited = openai.OpenAI(base_url=URL, api_key=LIMITED_KEY, max_retries=0)
        with self.assertRaises(openai.RateLimitError) as caught:
            for _ in range(3):
                limited.chat.completions.create(model="sim-small", messages=HELLO)
        self.assertGreater(float(caught.exception.response.headers["retry-after"]), 0)

    def test_a_failure_that_passes_is_tried_again(self):
        patient = client.with_options(max_retries=4)
        with fault("503", model="sim-large", next=1):
            answer = patient.chat.completions.create(model="sim-large", messages=HELLO)
        self.assertIn("Say hello", answer.choices[0].message.content)

    def test_a_stream_that_breaks_does_not_look_complete(self):
        with fault("reset-event-3", model="sim-large"), self.assertRaises(Exception):
            list(client.chat.completions.create(model="sim-large", messages=HELLO, stream=True))

    # What a provider has begun it bills: so it is heard out, and what was used is known.
    def test_an_answer_that_is_hung_up_on_is_heard_out(self):
        before = last_call()
        stream = client.chat.completions.create(model="sim-slow", messages=HELLO, stream=True)
        next(iter(stream))
        stream.close()
        self.assertFalse(call_ended_after(before)["client_hung_up"])


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_answers_and_streams(self):
        async with openai.AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=0) as client:
            whole = await client.chat.completions.create(model="sim-small", messages=HELLO)
            stream = await client.chat.completions.create(model="sim-small", messages=HELLO, stream=True)
            said = "".join([part.choices[0].delta.content or "" async for part in stream])
            self.assertEqual(said, whole.choices[0].message.content)
            self.assertIn("auto", [model.id async for model in client.models.list()])
            with self.assertRaises(openai.NotFoundError):
                await client.chat.completions.create(model="no-such-model", messages=HELLO)
