// Signing up and making a key with the keyboard alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { open, skip, started } from './browser.mjs';

let stack, browser;
started(skip, (its) => ({ stack, browser } = its));

// Presses Tab until what is focused has that name; it must be seen to be focused.
async function tabTo(page, name) {
  const met = [];
  for (let presses = 0; presses < 60; presses += 1) {
    await page.keyboard.press('Tab');
    const focused = await page.evaluate(() => {
      const element = document.activeElement;
      const style = getComputedStyle(element);
      const box = element.getBoundingClientRect();
      return {
        name: (element.labels?.[0]?.textContent ?? element.getAttribute('aria-label') ?? element.textContent).trim(),
        isMarked: (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none',
        isInSight: box.width > 0 && box.top < innerHeight && box.bottom > 0,
      };
    });
    met.push(focused.name);
    assert.ok(focused.isMarked && focused.isInSight, `${focused.name} does not look focused: ${JSON.stringify(focused)}`);
    if (focused.name === name) return;
  }
  assert.fail(`Tab never came to ${name}, only to ${met.join(' | ')}`);
}

test('sign up and make a key without a mouse', { skip, timeout: 120_000 }, async () => {
  const page = await open(browser, stack);
  const type = async (label, text) => {
    await tabTo(page, label);
    await page.keyboard.type(text);
  };
  const press = async (name, arrived) => {
    await tabTo(page, name);
    await page.keyboard.press('Enter');
    await page.waitForURL(arrived);
  };
  await page.goto('/');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await press('Create an account', '**/signup');
  await type('E-mail address', 'kim@keys.test');
  await type('Password', 'violet anvil teaspoon orbit');
  await type('Organization name', 'Keys only');
  await press('Create account', '**/setup');
  await press('Create key', '**/keys');
  assert.match(await page.textContent('#secret'), /tpk_live_/);
  await page.context().close();
});
