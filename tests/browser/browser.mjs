// Chromium, signing in, and what every page is checked for.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { startStack } from './stack.mjs';

const PLACES = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const executablePath = PLACES.find((it) => it && existsSync(it));
if (!executablePath && process.env.E2E_REQUIRED === '1') throw new Error('E2E_REQUIRED is set, and there is no Chromium');

// Why these tests cannot run here; false where they can.
export const skip = executablePath ? false : 'there is no Chromium here: infra/install.sh browser installs it';

const QUIET = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

// Gives the tests of a file a stack and a browser, and ends both after them.
export function started(unneeded, take) {
  const its = {};
  before(async () => {
    if (unneeded) return;
    its.stack = await startStack();
    its.browser = await launch();
    take(its);
  }, { timeout: 120_000 });
  after(async () => {
    await its.browser?.close();
    await its.stack?.stop();
  });
}

function launch() {
  // As root, as in containers, Chromium has no sandbox of its own.
  return chromium.launch({ executablePath, args: ['--no-sandbox', ...QUIET] });
}

export const MODES = {
  light: { viewport: { width: 1280, height: 800 }, colorScheme: 'light' },
  dark: { viewport: { width: 1280, height: 800 }, colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: 'light' },
};

// A page in a browser of its own, which gathers what its console complains of.
export async function open(browser, stack, options = {}) {
  const context = await browser.newContext({ baseURL: stack.control, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.complaints = [];
  page.on('console', (message) => {
    // An answer that says no is no fault of the page.
    const isAnswer = /the server responded with a status of/.test(message.text());
    if (['error', 'warning'].includes(message.type()) && !isAnswer) page.complaints.push(message.text());
  });
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  return page;
}

export async function signIn(page, { email, password }) {
  await page.goto('/login');
  await page.fill('[name=email]', email);
  await page.fill('[name=password]', password);
  await page.click('main button[type=submit]');
  await page.waitForURL((url) => url.pathname !== '/login');
}

export async function press(page, role, name) {
  await page.getByRole(role, { name, exact: true }).first().click();
  await page.waitForLoadState();
}

// Where the organization of the demo is, to whose owner the page then belongs.
export async function home(page, stack) {
  await signIn(page, stack.logins.owner);
  await page.goto('/orgs');
  return page.locator('main a[href^="/orgs/"]:not([href="/orgs/new"])').first().getAttribute('href');
}

// Its secret, and what a budget on it is on.
export async function makeKey(page, base, name) {
  await page.goto(`${base}/keys/new`);
  await page.fill('[name=name]', name);
  await page.locator('main form button[type=submit]').last().click();
  await page.waitForSelector('#secret');
  const secret = (await page.locator('#secret').textContent()).trim();
  await page.goto(`${base}/keys`);
  const key = await page.locator('th a', { hasText: name }).first().getAttribute('href');
  return { secret, scope: `key:${key.split('/').pop()}` };
}

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

// What is wrong with the page as it stands, one line each.
export async function faults(page) {
  const where = `${new URL(page.url()).pathname} at ${page.viewportSize().width}`;
  // Evaluated, not loaded: our content security policy lets no other script in.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate((tags) => axe.run({ runOnly: tags }), RULES);
  const found = violations.map((it) => `${it.id}: ${it.nodes.map((node) => node.target.join(' ')).join(', ')}`);
  found.push(...page.complaints.splice(0).map((it) => `console: ${it}`));
  const over = await overflow(page);
  if (over > 0) found.push(`${over} px wider than the window`);
  return found.map((it) => `${where}: ${it}`);
}

// A fraction of a pixel is told as a whole one, and nobody scrolls by it.
export async function overflow(page) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  return over > 1 ? over : 0;
}

export async function check(page) {
  assert.deepEqual(await faults(page), []);
}

// Pages that differ in an id or a query only are one page, and so are those of errors.
export const kindOf = (path) =>
  path.split(/[?#]/)[0].replace(/\b[a-z]+_[0-9a-zA-Z-]{10,}\b/g, '*').replace(/^\/docs\/errors\/.+/, '/docs/errors/*');

const BEGINNINGS = ['/', '/login', '/signup', '/password/reset', '/account', '/orgs', '/docs', '/styleguide', '/dev/mailbox', '/operator'];
const NOT_PAGES = /\.(csv|json|xml|txt|md|svg|yaml|zip)$|\/download$|^\/(api|assets)\/|^\/(healthz|readyz)$/;

// Follows every link within our site and calls `visit` with each kind of page once.
export async function walk(page, visit) {
  const ahead = [...BEGINNINGS];
  const known = new Set(ahead.map(kindOf));
  while (ahead.length > 0) {
    const path = ahead.shift();
    const answer = await page.goto(path);
    const links = await page.$$eval('a[href]', (all) => all.map((it) => it.getAttribute('href')));
    for (const link of links) {
      if (!link.startsWith('/') || link.startsWith('//') || NOT_PAGES.test(link.split(/[?#]/)[0])) continue;
      if (known.has(kindOf(link))) continue;
      known.add(kindOf(link));
      ahead.push(link);
    }
    const landed = new URL(page.url()).pathname;
    // Where a redirect leads is walked to by itself.
    if (kindOf(landed) === kindOf(path)) await visit(path, answer);
    else if (!known.has(kindOf(landed))) {
      known.add(kindOf(landed));
      ahead.push(landed);
    }
  }
}
