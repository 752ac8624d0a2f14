// Budgets as people live with them, with JavaScript and without.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MODES, check, home, makeKey, open, press, skip, started } from './browser.mjs';
import { eventually } from './stack.mjs';

let stack, browser;
started(skip, (its) => ({ stack, browser } = its));

const call = (secret) =>
  fetch(`${stack.data}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'auto', max_tokens: 100, messages: [{ role: 'user', content: 'hello' }] }),
  });

for (const javaScriptEnabled of [true, false]) {
  const mark = javaScriptEnabled ? 'on' : 'off';

  test(`a cap refuses a call until it is raised, JavaScript ${mark}`, { skip, timeout: 180_000 }, async () => {
    const page = await open(browser, stack, { javaScriptEnabled });
    const inspect = async () => { if (javaScriptEnabled) await check(page); };
    const base = await home(page, stack);
    const { secret, scope } = await makeKey(page, base, `trial-${mark}`);
    await eventually('the key to reach the data plane', async () => (await call(secret)).ok);

    await page.goto(`${base}/budgets/new?scope=${scope}`);
    await page.fill('[name=name]', `Trial ${mark}`);
    await page.fill('[name=requests]', '1');
    await press(page, 'button', 'Look back at last month');
    assert.match(await page.textContent('#preview'), /What this would have refused/);
    assert.equal(await page.inputValue('[name=name]'), `Trial ${mark}`);
    await inspect();
    await press(page, 'button', 'Create budget');
    await page.waitForURL(/\/budgets\/bud_/);
    await inspect();

    const refused = await eventually('a call to be refused', async () => {
      const answer = await call(secret);
      return answer.status === 402 && answer;
    });
    assert.equal(refused.headers.get('x-should-retry'), 'false');
    const { error } = await refused.json();
    assert.equal(error.code, 'budget_exceeded');
    // Says all that a developer has to know.
    for (const told of [`Trial ${mark}`, '1 request', 'owner']) assert.ok(error.message.includes(told), error.message);

    await page.reload();
    assert.match(await page.textContent('main'), /Used up/);
    await page.fill('[name=raised_requests]', '1000');
    await page.fill('[name=until]', new Date(Date.now() + 86_400_000).toISOString().slice(0, 16));
    await page.fill('[name=reason]', 'a demonstration');
    await press(page, 'button', 'Raise caps');
    assert.match(await page.textContent('main'), /Raised to 1,000 requests/);
    // It binds on the next call: there is nothing to wait for.
    const passed = await call(secret);
    assert.equal(passed.status, 200, await passed.text());
    await inspect();

    await press(page, 'button', 'End the raise now');
    assert.equal((await call(secret)).status, 402);
    assert.match(await page.textContent('main'), /a demonstration/);
    await page.context().close();
  });
}

test('alerts are tried by mail and by webhook', { skip, timeout: 180_000 }, async () => {
  const page = await open(browser, stack);
  const base = await home(page, stack);
  await page.goto(`${base}/budgets`);
  await page.locator('main th a').first().click();
  await page.waitForLoadState();
  const name = await page.textContent('h1');
  await press(page, 'button', 'Send test');
  await page.goto('/dev/mailbox');
  await eventually('the letter', async () => {
    await page.reload();
    return (await page.textContent('main')).includes(name);
  });

  await page.goto(`${base}/budgets/alerts`);
  await page.getByText('Add a webhook').click();
  await press(page, 'button', 'Add webhook');
  await page.waitForSelector('.summary');
  await check(page);
  await page.fill('[name=url]', `${stack.control}/healthz`);
  await press(page, 'button', 'Add webhook');
  const secret = (await page.locator('#secret').textContent()).trim();
  assert.match(secret, /^whsec_/);
  await check(page);
  await page.getByRole('link', { name: 'Go on' }).click();
  await page.waitForLoadState();
  assert.ok(!(await page.content()).includes(secret));
  await press(page, 'button', 'Send test');
  await eventually('an answer to the test', async () => {
    await page.reload();
    return /Delivered|Tried again|Given up/.test(await page.textContent('main'));
  });
  await check(page);
  await page.context().close();
});

test('a budget looks back at what was used', { skip, timeout: 180_000 }, async () => {
  for (const mode of Object.keys(MODES)) {
    const page = await open(browser, stack, MODES[mode]);
    const base = await home(page, stack);
    const { secret, scope } = await makeKey(page, base, `looked-${mode}`);
    await eventually('the key to reach the data plane', async () => (await call(secret)).ok);
    for (let more = 0; more < 3; more += 1) assert.ok((await call(secret)).ok);
    await eventually('usage to be taken', async () => {
      await page.goto(`${base}/budgets/new?scope=${scope}`);
      await page.fill('[name=requests]', '3');
      await press(page, 'button', 'Look back at last month');
      return /It would have refused 1 request /.test(await page.textContent('#preview'));
    });
    assert.match(await page.textContent('#preview'), /in 1 of 2 months\. There were 4 requests/);
    await check(page);
    // No link leads there while nothing is held.
    await page.goto(`${base}/budgets/holds`);
    assert.match(await page.textContent('main'), /No unresolved holds/);
    await check(page);
    await page.context().close();
  }
});
