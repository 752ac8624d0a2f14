// Vercel's AI SDK, with its provider for APIs like OpenAI's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from 'ai';
import { z } from 'zod';
import { DOT, KEY, LIMITED_KEY, URL, WRONG_KEY, callEndedAfter, lastCall, withFault } from './stack.mjs';

const provider = (apiKey) =>
  createOpenAICompatible({ name: 'turnpike', baseURL: URL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const turnpike = provider(KEY);
const ask = (changed) => generateText({ model: turnpike('sim-small'), prompt: 'Say hello', maxRetries: 0, ...changed });
const schema = z.object({ number: z.string(), total: z.number(), paid: z.boolean() });
const get_weather = tool({
  description: 'What the weather is in a city.',
  inputSchema: z.object({ city: z.string() }),
  execute: async () => 'Rain.',
});
const failsWith = (statusCode) => (error) => {
  assert.ok(APICallError.isInstance(error), `${error}`);
  assert.equal(error.statusCode, statusCode);
  return true;
};

test('an answer has words and usage', async () => {
  const { text, usage, finishReason } = await ask({ model: turnpike('auto') });
  assert.match(text, /Say hello/);
  assert.equal(finishReason, 'stop');
  assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
});

test('a stream says the same in parts', async () => {
  const { text } = await ask();
  const stream = streamText({ model: turnpike('sim-small'), prompt: 'Say hello' });
  const parts = [];
  for await (const part of stream.textStream) parts.push(part);
  assert.ok(parts.length > 3);
  assert.equal(parts.join(''), text);
  assert.ok((await stream.usage).outputTokens > 0);
});

test('a picture is seen', async () => {
  const content = [{ type: 'text', text: 'What is this?' }, { type: 'image', image: DOT, mediaType: 'image/png' }];
  const { text } = await ask({ prompt: undefined, messages: [{ role: 'user', content }] });
  assert.match(text, /You sent 1 image/);
});

test('a tool is called and its answer understood', async () => {
  const { text, steps } = await ask({ prompt: 'Please get_weather for Oslo', tools: { get_weather }, stopWhen: stepCountIs(3) });
  assert.equal(steps[0].toolCalls[0].toolName, 'get_weather');
  assert.match(text, /The tool answered: "?Rain\./);
});

test('two calls come at once, also in a stream', async () => {
  const both = { prompt: 'Both cities: get_weather', tools: { get_weather } };
  assert.equal((await ask(both)).toolCalls.length, 2);
  assert.equal((await streamText({ model: turnpike('sim-small'), ...both }).toolCalls).length, 2);
});

test('an answer fits its schema, whole and streamed', async () => {
  const shaped = { model: turnpike('sim-small'), prompt: 'Say hello', schema };
  const { object } = await generateObject(shaped);
  assert.ok(schema.safeParse(object).success);
  let last;
  for await (const partial of streamObject(shaped).partialObjectStream) last = partial;
  assert.deepEqual(last, object);
});

test('texts become vectors', async () => {
  const { embeddings } = await embedMany({ model: turnpike.embeddingModel('sim-small'), values: ['one', 'two'], maxRetries: 0 });
  assert.equal(embeddings.length, 2);
});

test('a wrong key', () => assert.rejects(ask({ model: provider(WRONG_KEY)('sim-small') }), failsWith(401)));

test('an unknown model', () => assert.rejects(ask({ model: turnpike('no-such-model') }), failsWith(404)));

test('a provider that asks for patience', () =>
  withFault('429', { model: 'sim-large' }, () => assert.rejects(ask({ model: turnpike('sim-large') }), failsWith(429))));

test('a key that has had its share', async () => {
  const limited = provider(LIMITED_KEY);
  const often = async () => { for (let time = 0; time < 3; time += 1) await ask({ model: limited('sim-small') }); };
  await assert.rejects(often, failsWith(429));
});

test('a failure that passes is tried again', () =>
  withFault('503', { model: 'sim-large', next: 1 }, async () => {
    const { text } = await ask({ model: turnpike('sim-large'), maxRetries: 2 });
    assert.match(text, /Say hello/);
  }));

// What a provider has begun it bills: so it is heard out, and what was used is known.
test('an answer that is hung up on is heard out', async () => {
  const before = await lastCall();
  const leaving = new AbortController();
  const stream = streamText({ model: turnpike('sim-slow'), prompt: 'Say hello', abortSignal: leaving.signal });
  for await (const part of stream.textStream) {
    assert.ok(part);
    leaving.abort();
    break;
  }
  assert.equal((await callEndedAfter(before)).client_hung_up, false);
});
