// OpenAI's own library for JavaScript.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { DOT, KEY, LIMITED_KEY, URL, WRONG_KEY, callEndedAfter, lastCall, notYet, withFault } from './stack.mjs';

const client = new OpenAI({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const user = (content) => [{ role: 'user', content }];
const hello = { model: 'sim-small', messages: user('Say hello') };
const create = (changed) => client.chat.completions.create({ ...hello, ...changed });

const tools = [{
  type: 'function',
  function: {
    name: 'get_weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
}];
const Invoice = z.object({ number: z.string(), total: z.number(), paid: z.boolean() });

test('an answer has words and usage', async () => {
  const answer = await create({ model: 'auto' });
  assert.match(answer.choices[0].message.content, /Say hello/);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test('a stream says the same in parts', async () => {
  const whole = await create();
  let said = '', usage;
  for await (const part of await create({ stream: true, stream_options: { include_usage: true } })) {
    said += part.choices[0]?.delta.content ?? '';
    usage = part.usage ?? usage;
  }
  assert.equal(said, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

test('helpers for streams work', async () => {
  const stream = client.chat.completions.stream(hello);
  let parts = 0;
  stream.on('content', () => { parts += 1; });
  assert.match(await stream.finalContent(), /Say hello/);
  assert.ok(parts > 3);
});

test('a picture is seen', async () => {
  const content = [{ type: 'text', text: 'What is this?' }, { type: 'image_url', image_url: { url: `data:image/png;base64,${DOT}` } }];
  const answer = await create({ messages: user(content) });
  assert.match(answer.choices[0].message.content, /You sent 1 image/);
});

test('a tool is called and its answer understood', async () => {
  const asked = user('Please get_weather for Oslo');
  const { message } = (await create({ messages: asked, tools })).choices[0];
  const [call] = message.tool_calls;
  assert.equal(call.function.name, 'get_weather');
  assert.ok('city' in JSON.parse(call.function.arguments));
  const told = [...asked, message, { role: 'tool', tool_call_id: call.id, content: 'Rain.' }];
  const answer = await create({ messages: told, tools });
  assert.match(answer.choices[0].message.content, /The tool answered: Rain\./);
});

test('two calls come at once unless that is not wanted', async () => {
  const both = { messages: user('Both cities: get_weather'), tools };
  assert.equal((await create(both)).choices[0].message.tool_calls.length, 2);
  assert.equal((await create({ ...both, parallel_tool_calls: false })).choices[0].message.tool_calls.length, 1);
  const streamed = await client.chat.completions.stream({ ...hello, ...both }).finalChatCompletion();
  assert.equal(streamed.choices[0].message.tool_calls.length, 2);
});

test('tools are run by the library', async () => {
  const runner = client.chat.completions.runTools({
    ...hello,
    messages: user('Please get_weather for Oslo'),
    tools: [{ type: 'function', function: { ...tools[0].function, function: () => 'Rain.', parse: JSON.parse } }],
  });
  assert.match(await runner.finalContent(), /The tool answered: Rain\./);
});

test('an answer fits its schema', async () => {
  const answer = await client.chat.completions.parse({ ...hello, response_format: zodResponseFormat(Invoice, 'invoice') });
  assert.ok(Invoice.safeParse(answer.choices[0].message.parsed).success);
});

test('models are listed and found', async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes('auto'));
  assert.equal((await client.models.retrieve('auto')).id, 'auto');
});

test('texts become vectors', async () => {
  const answer = await client.embeddings.create({ model: 'sim-small', input: ['one', 'two'], dimensions: 64 });
  assert.deepEqual(answer.data.map((it) => it.embedding.length), [64, 64]);
});

test('texts are moderated', async () => {
  const answer = await client.moderations.create({ model: 'sim-small', input: 'a friendly text' });
  assert.equal(answer.results[0].flagged, false);
});

test('the old endpoint completes', async () => {
  const answer = await client.completions.create({ model: 'sim-small', prompt: 'Once', max_tokens: 8 });
  assert.ok(answer.choices[0].text);
});

test('the new endpoint responds', notYet(async () => {
  assert.ok((await client.responses.create({ model: 'sim-small', input: 'Say hello' })).output_text);
}));

test('a wrong key', async () => {
  const stranger = new OpenAI({ baseURL: URL, apiKey: WRONG_KEY });
  await assert.rejects(stranger.chat.completions.create(hello), (error) => {
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.equal(error.code, 'invalid_api_key');
    assert.match(error.requestID, /^req_/);
    return true;
  });
});

test('an unknown model', () => assert.rejects(create({ model: 'no-such-model' }), OpenAI.NotFoundError));

test('a request that makes no sense', () => assert.rejects(create({ messages: [] }), OpenAI.BadRequestError));

test('a provider that asks for patience', () =>
  withFault('429', { model: 'sim-large' }, () => assert.rejects(create({ model: 'sim-large' }), OpenAI.RateLimitError)));

test('a key that has had its share', async () => {
  const limited = new OpenAI({ baseURL: URL, apiKey: LIMITED_KEY, maxRetries: 0 });
  const often = async () => { for (let time = 0; time < 3; time += 1) await limited.chat.completions.create(hello); };
  await assert.rejects(often, (error) => error instanceof OpenAI.RateLimitError && Number(error.headers.get('retry-after')) > 0);
});

test('a failure that passes is tried again', () =>
  withFault('503', { model: 'sim-large', next: 1 }, async () => {
    const answer = await client.chat.completions.create({ ...hello, model: 'sim-large' }, { maxRetries: 4 });
    assert.match(answer.choices[0].message.content, /Say hello/);
  }));

test('a stream that breaks does not look complete', () =>
  withFault('reset-event-3', { model: 'sim-large' }, () =>
    assert.rejects(async () => {
      for await (const part of await create({ model: 'sim-large', stream: true })) assert.ok(part);
    })));

// What a provider has begun it bills: so it is heard out, and what was used is known.
test('an answer that is hung up on is heard out', async () => {
  const before = await lastCall();
  const stream = await create({ model: 'sim-slow', stream: true });
  for await (const part of stream) {
    assert.ok(part);
    stream.controller.abort();
    break;
  }
  assert.equal((await callEndedAfter(before)).client_hung_up, false);
});
