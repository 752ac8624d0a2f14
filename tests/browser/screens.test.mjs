// Pictures of every page for people to look at, in target/screens/. Only with SCREENS=1.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { MODES, kindOf, open, signIn, skip, started, walk } from './browser.mjs';
import { ROOT } from './stack.mjs';

const unasked = process.env.SCREENS === '1' ? skip : 'pictures are taken with SCREENS=1';
const directory = join(process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'screens');

let stack, browser;
started(unasked, (its) => ({ stack, browser } = its));
before(() => unasked || mkdirSync(directory, { recursive: true }));

for (const who of ['nobody', 'owner', 'billing', 'operator']) {
  for (const mode of Object.keys(MODES)) {
    test(`pictures as ${who}, ${mode}`, { skip: unasked, timeout: 600_000 }, async () => {
      const page = await open(browser, stack, MODES[mode]);
      if (who !== 'nobody') await signIn(page, stack.logins[who]);
      await walk(page, async (path) => {
        const name = kindOf(path).replaceAll('/', '_').replaceAll('*', 'id');
        await page.screenshot({ path: join(directory, `${who}${name}-${mode}.png`), fullPage: true });
      });
      await page.context().close();
    });
  }
}
