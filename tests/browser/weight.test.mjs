// What pages weigh on the wire, as Chromium counts it; and, only to be read, how long the
// server takes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { open, signIn, skip, started, walk } from './browser.mjs';


const FIRST_VIEW = 70_000;
const LATER_VIEW = 15_000;

let stack, browser;
started(skip, (its) => ({ stack, browser } = its));

// Counts the bytes that go over the wire, headers included.
async function scales(page) {
  const network = await page.context().newCDPSession(page);
  await network.send('Network.enable');
  let bytes = 0;
  network.on('Network.loadingFinished', (event) => { bytes += event.encodedDataLength; });
  return async (isFirst = false) => {
    // Later views fetch nothing beside the page, and to wait for silence takes long.
    await page.waitForLoadState(isFirst ? 'networkidle' : 'load');
    const weighed = bytes;
    bytes = 0;
    return weighed;
  };
}

test('the first view', { skip, timeout: 120_000 }, async () => {
  for (const path of ['/', '/signup', '/login', '/docs']) {
    const page = await open(browser, stack);
    const weigh = await scales(page);
    await page.goto(path);
    const bytes = await weigh(true);
    console.log(`# first view of ${path}: ${bytes} bytes`);
    assert.ok(bytes > 5_000 && bytes <= FIRST_VIEW, `${path} weighs ${bytes} bytes`);
    await page.context().close();
  }
});

test('later views', { skip, timeout: 600_000 }, async () => {
  const heavy = [];
  for (const who of ['owner', 'operator']) {
    const page = await open(browser, stack);
    const weigh = await scales(page);
    await signIn(page, stack.logins[who]);
    await weigh(true);
    const views = [];
    await walk(page, async (path) => {
      await weigh();
      await page.goto(path);
      views.push({ path, bytes: await weigh() });
    });
    views.sort((one, other) => other.bytes - one.bytes);
    const middle = views[Math.floor(views.length / 2)].bytes;
    const heaviest = views.slice(0, 3).map((it) => `${it.path} ${it.bytes}`).join(', ');
    console.log(`# later views as ${who}: ${views.length} pages, median ${middle} bytes, heaviest ${heaviest}`);
    heavy.push(...views.filter((it) => it.bytes > LATER_VIEW));
    await page.context().close();
  }
  assert.deepEqual(heavy, []);
});

const untimed = process.env.SERVER_TIME === '1' ? skip : 'pages are timed with SERVER_TIME=1';

test('server time, to be read', { skip: untimed, timeout: 600_000 }, async () => {
  const page = await open(browser, stack);
  await signIn(page, stack.logins.owner);
  const paths = [];
  await walk(page, async (path, answer) => { if (answer.ok()) paths.push(path); });
  const cookie = (await page.context().cookies()).map((it) => `${it.name}=${it.value}`).join('; ');
  await page.context().close();
  const times = [];
  for (let round = 0; round < 10; round += 1) {
    for (const path of paths) {
      const began = performance.now();
      const answer = await fetch(stack.control + path, { headers: { cookie, 'accept-encoding': 'br' }, redirect: 'manual' });
      await answer.arrayBuffer();
      times.push({ path, ms: performance.now() - began });
    }
  }
  times.sort((one, other) => one.ms - other.ms);
  const at = (part) => times[Math.floor((times.length - 1) * part)];
  const build = stack.isDebug ? ', unoptimized build' : '';
  console.log(`# server time of ${paths.length} pages${build}: p50 ${at(0.5).ms.toFixed(1)} ms, p95 ${at(0.95).ms.toFixed(1)} ms, slowest ${at(1).path} ${at(1).ms.toFixed(1)} ms`);
});
