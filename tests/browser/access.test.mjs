// Every page, for everybody: no violation of WCAG or good practice, nothing on the
// console, nothing wider than the window; in light, in dark and on a phone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MODES, faults, kindOf, open, overflow, signIn, skip, started, walk } from './browser.mjs';

let stack, browser;
started(skip, (its) => ({ stack, browser } = its));

// A page that one reader was checked at in dark and on a phone is not checked there for
// the next, who sees the same parts, or fewer.
const checked = new Set();
let views = 0;

for (const who of ['nobody', 'owner', 'billing', 'developer', 'operator']) {
  test(`pages as ${who}`, { skip, timeout: 900_000 }, async () => {
    const light = await open(browser, stack, MODES.light);
    if (who !== 'nobody') await signIn(light, stack.logins[who]);
    const found = [];
    const paths = [];
    await walk(light, async (path, answer) => {
      if (!(answer.headers()['content-type'] ?? '').startsWith('text/html')) return;
      paths.push(path);
      views += 1;
      found.push(...(await faults(light)));
      // Narrower still, as when a window is zoomed.
      await light.setViewportSize({ width: 320, height: 640 });
      const over = await overflow(light);
      if (over > 0) found.push(`${path} at 320: ${over} px wider than the window`);
      await light.setViewportSize(MODES.light.viewport);
    });
    const fresh = paths.filter((path) => !checked.has(kindOf(path)));
    fresh.forEach((path) => checked.add(kindOf(path)));
    for (const mode of ['dark', 'phone']) {
      const page = await open(browser, stack, MODES[mode]);
      if (who !== 'nobody') await signIn(page, stack.logins[who]);
      for (const path of fresh) {
        await page.goto(path);
        views += 1;
        found.push(...(await faults(page)).map((it) => `${mode}: ${it}`));
      }
      await page.context().close();
    }
    await light.context().close();
    console.log(`# ${who}: ${paths.length} pages, ${views} views so far, ${found.length} faults`);
    assert.deepEqual([...new Set(found)], []);
  });
}

test('forms that come back with what is wrong', { skip, timeout: 600_000 }, async () => {
  const found = [];
  for (const mode of Object.keys(MODES)) {
    const page = await open(browser, stack, MODES[mode]);
    for (const path of ['/signup', '/login', '/password/reset']) {
      await page.goto(path);
      await page.locator('main form button[type=submit]').last().click();
      await page.waitForSelector('.summary');
      found.push(...(await faults(page)));
    }
    await signIn(page, stack.logins.owner);
    await page.goto('/orgs');
    const home = await page.locator('main a[href^="/orgs/"]:not([href="/orgs/new"])').first().getAttribute('href');
    for (const rest of ['/teams/new', '/projects/new', '/cost-centers/new', '/keys/new', '/members/invite', '/budgets/new']) {
      await page.goto(home + rest);
      await page.locator('main form button[type=submit]').last().click();
      await page.waitForSelector('.summary');
      const focused = await page.evaluate(() => document.activeElement?.className ?? '');
      if (!focused.includes('summary')) found.push(`${rest}: the summary has no focus`);
      found.push(...(await faults(page)));
    }
    for (const [path, status] of [['/nothing', 404], [`${home}/nothing`, 404], ['/operator', 403]]) {
      assert.equal((await page.goto(path)).status(), status);
      found.push(...(await faults(page)));
    }
    await page.context().close();
  }
  assert.deepEqual([...new Set(found)], []);
});
