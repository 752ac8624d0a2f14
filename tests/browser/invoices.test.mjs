// What finance comes for, with JavaScript and without.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { check, open, signIn, skip, started } from './browser.mjs';

let stack, browser;
started(skip, (its) => ({ stack, browser } = its));

for (const javaScriptEnabled of [true, false]) {
  const mark = javaScriptEnabled ? 'on' : 'off';

  // Who bills begins at the invoices.
  test(`a project's document is two clicks away, JavaScript ${mark}`, { skip, timeout: 120_000 }, async () => {
    const page = await open(browser, stack, { javaScriptEnabled });
    const inspect = async () => { if (javaScriptEnabled) await check(page); };
    await signIn(page, stack.logins.billing);
    await page.waitForURL(/\/invoices$/);
    await inspect();
    const issued = page.locator('section', { has: page.locator('#issued') });
    await issued.locator('tbody th a').first().click();
    await page.waitForURL(/\/invoices\/ivc_/);
    await inspect();
    const total = (await page.locator('section', { has: page.locator('h2[id^=section-]') }).first().locator('tfoot b').textContent()).trim();
    await page.getByRole('link', { name: /^Document/ }).first().click();
    await page.waitForURL(/\/document\?project=/);
    await inspect();
    assert.equal((await page.locator('table.totals b').textContent()).trim(), total);
    if (stack.prints) {
      await page.goBack();
      const downloaded = page.waitForEvent('download');
      await page.getByRole('link', { name: /^PDF of/ }).first().click();
      const download = await downloaded;
      assert.match(download.suggestedFilename(), /\.pdf$/);
      const text = execFileSync('pdftotext', ['-layout', await download.path(), '-'], { encoding: 'utf8' });
      assert.ok(text.includes(total), text);
    }
    await page.context().close();
  });
}
