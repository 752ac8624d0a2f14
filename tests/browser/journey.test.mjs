// What the product is for, as people do it, with JavaScript and without.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { check, open, skip, started } from './browser.mjs';
import { eventually } from './stack.mjs';

let stack, browser;
started(skip, (its) => ({ stack, browser } = its));

// Counts what it costs people.
function counting(page) {
  const cost = { fields: 0, clicks: 0 };
  return {
    cost,
    fill: async (label, text) => {
      cost.fields += 1;
      await page.getByLabel(label, { exact: true }).first().fill(text);
    },
    click: async (role, name) => {
      cost.clicks += 1;
      await page.getByRole(role, { name, exact: true }).first().click();
      await page.waitForLoadState();
    },
  };
}

async function mailedLink(context, email, kind) {
  const mailbox = await context.newPage();
  await mailbox.goto('/dev/mailbox');
  const letter = mailbox.locator('article', { hasText: email }).first();
  const link = await letter.locator(`a[href*="${kind}"]`).first().getAttribute('href');
  await mailbox.close();
  return link;
}

for (const javaScriptEnabled of [true, false]) {
  test(`sign up, make a key, invite a colleague, JavaScript ${javaScriptEnabled ? 'on' : 'off'}`, { skip, timeout: 180_000 }, async () => {
    const mark = javaScriptEnabled ? 'on' : 'off';
    const page = await open(browser, stack, { javaScriptEnabled });
    const { cost, fill, click } = counting(page);
    const inspect = async () => { if (javaScriptEnabled) await check(page); };

    await page.goto('/');
    await click('link', 'Create an account');
    await fill('E-mail address', `ada-${mark}@acme.test`);
    await fill('Password', 'violet anvil teaspoon orbit');
    await fill('Organization name', `Acme ${mark}`);
    await click('button', 'Create account');
    await page.waitForURL('**/setup');
    await inspect();
    const home = new URL(page.url()).pathname.replace('/setup', '');
    await click('button', 'Create key');
    const secret = (await page.locator('#secret').textContent()).trim();
    assert.match(secret, /^tpk_live_[0-9A-Za-z]{8}_[0-9A-Za-z]{38}$/);
    console.log(`# JavaScript ${mark}: ${cost.fields} fields and ${cost.clicks} clicks from the landing page to a key`);
    assert.ok(cost.fields <= 4 && cost.clicks <= 5, JSON.stringify(cost));
    await inspect();

    // Seen once.
    await page.getByRole('link', { name: 'I have stored it' }).click();
    await page.waitForLoadState();
    assert.ok(!(await page.content()).includes(secret));
    await page.goto(`${home}/keys`);
    assert.ok(!(await page.content()).includes(secret));

    // It is good: a call with it is answered, before anything else is set up.
    await eventually('the key to reach the data plane', async () => {
      const answer = await fetch(`${stack.data}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'auto', messages: [{ role: 'user', content: 'hello' }] }),
      });
      return answer.ok;
    });

    await page.goto(`${home}/setup`);
    await page.getByRole('link', { name: 'Invite', exact: true }).first().click();
    await page.waitForURL('**/members/invite');
    await inspect();
    await page.fill('[name=emails]', `bob-${mark}@acme.test`);
    await page.selectOption('[name=role]', 'developer');
    await page.locator('main form button[type=submit]').last().click();
    await page.waitForURL('**/members');
    assert.ok((await page.textContent('main')).includes(`bob-${mark}@acme.test`));
    await inspect();

    const colleague = await open(browser, stack, { javaScriptEnabled });
    await colleague.goto(await mailedLink(page.context(), `bob-${mark}@acme.test`, '/invites/'));
    assert.match(await colleague.textContent('main'), new RegExp(`Acme ${mark}`));
    assert.match(await colleague.textContent('main'), /Developer/);
    if (javaScriptEnabled) await check(colleague);
    await colleague.fill('[name=password]', 'cobalt lantern whisper orbit');
    await colleague.locator('main form button[type=submit]').last().click();
    await colleague.waitForURL(`**${home}`);
    // Signs out and in again, to be a colleague who signs in.
    await colleague.locator('form[action="/logout"] button:visible').first().click();
    await colleague.waitForURL('**/login');
    await colleague.fill('[name=email]', `bob-${mark}@acme.test`);
    await colleague.fill('[name=password]', 'cobalt lantern whisper orbit');
    await colleague.locator('main form button[type=submit]').click();
    await colleague.waitForURL((url) => url.pathname !== '/login');
    await colleague.goto(`${home}/members`);
    assert.equal(await colleague.locator('a[href$="/members/invite"]').count(), 0);
    assert.equal((await colleague.goto(`${home}/members/invite`)).status(), 403);
    assert.equal((await colleague.goto(`${home}/keys/new`)).status(), 200);

    await page.goto(`${home}/audit`);
    const log = await page.textContent('main');
    for (const told of [`ada-${mark}@acme.test`, `bob-${mark}@acme.test`, 'organization', 'key', 'invitation']) {
      assert.ok(log.toLowerCase().includes(told), `${told} is not in the log`);
    }
    assert.ok(!log.includes(secret));
    await page.context().close();
    await colleague.context().close();
  });
}
