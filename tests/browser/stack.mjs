// A Turnpike of its own for one file of tests: the real programs, on a fresh database of
// the test PostgreSQL and an empty database of the test Redis, with the demo in it.
//
// From the environment, or else from .run/test/stack.env:
//   DATABASE_URL               a superuser's, to make the fresh database with
//   TURNPIKE_TEST_REDIS_URL
//   TURNPIKE_BIN_DIR           where the programs are; target/debug if not given
//   TURNPIKE_INVOICE_PRINTER   what makes PDFs of invoices; without it there are none
// and where they are there, the roles of production: TURNPIKE_OWNER_DATABASE_URL and
// TURNPIKE_DATABASE_URL.
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const PATIENCE_MS = 60_000;

export async function startStack() {
  const settings = { ...readEnvironment(join(ROOT, '.run/test/stack.env')), ...process.env };
  const programs = settings.TURNPIKE_BIN_DIR ?? join(settings.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'debug');
  for (const name of ['DATABASE_URL', 'TURNPIKE_TEST_REDIS_URL']) {
    if (!settings[name]) throw new Error(`${name} is not set: run these tests with \`make e2e\``);
  }
  const directory = mkdtempSync(join(tmpdir(), 'turnpike-browser-'));
  const children = [];
  const undo = [() => rmSync(directory, { recursive: true, force: true })];
  const stop = async () => {
    for (const child of children) child.kill('SIGTERM');
    await Promise.all(children.map((child) => child.ended));
    for (const step of undo.reverse()) await step();
  };
  try {
    const database = makeDatabase(settings, undo);
    const redis = await claimRedis(settings.TURNPIKE_TEST_REDIS_URL, undo);
    const [control, data, simulator] = await freePorts(3);
    const url = (port) => `http://127.0.0.1:${port}`;

    const base = { PATH: process.env.PATH, TURNPIKE_LOG_FORMAT: 'pretty', TURNPIKE_DRAIN_SECONDS: '1' };
    const run = (program, args, environment) =>
      execFileSync(join(programs, program), args, { env: { ...base, ...environment }, stdio: ['ignore', 'pipe', 'inherit'] });
    run('turnpike', ['secrets', join(directory, 'secrets.env')], {});
    const secrets = readEnvironment(join(directory, 'secrets.env'));
    run('turnpike', ['migrate'], { TURNPIKE_OWNER_DATABASE_URL: database.owner });
    const ours = {
      ...secrets,
      TURNPIKE_DATABASE_URL: database.control,
      TURNPIKE_REDIS_URL: redis,
      TURNPIKE_PUBLIC_URL: url(control),
      TURNPIKE_DASHBOARD_URL: url(control),
      TURNPIKE_DATA_URL: url(data),
      TURNPIKE_SIMULATOR_URL: url(simulator),
      TURNPIKE_DEV: '1',
      TURNPIKE_ALLOW_PRIVATE_UPSTREAMS: '1',
      TURNPIKE_WORKERS: '2',
    };
    const printer = settings.TURNPIKE_INVOICE_PRINTER;
    if (printer) ours.TURNPIKE_INVOICE_PRINTER = printer;
    const listening = (port) => ({ ...base, ...ours, TURNPIKE_LISTEN: `127.0.0.1:${port}` });
    run('turnpike', ['demo'], listening(control));
    const launch = (program, environment) => {
      const log = join(directory, `${program}.log`);
      const child = spawn(join(programs, program), [], { env: environment, stdio: ['ignore', openSync(log, 'w'), openSync(log, 'a')] });
      child.ended = new Promise((resolve) => child.once('exit', resolve));
      child.log = log;
      children.push(child);
      return child;
    };
    const started = [
      [launch('provider-simulator', { ...base, TURNPIKE_SIMULATOR_LISTEN: `127.0.0.1:${simulator}` }), simulator],
      [launch('control-plane', listening(control)), control],
      [launch('data-plane', listening(data)), data],
    ];
    for (const [child, port] of started) await ready(child, `${url(port)}/readyz`);

    const login = (role) => ({ email: secrets[`TURNPIKE_${role}_EMAIL`], password: secrets[`TURNPIKE_${role}_PASSWORD`] });
    return {
      control: url(control),
      data: url(data),
      logins: { owner: login('OWNER'), billing: login('BILLING'), developer: login('DEVELOPER'), operator: login('OPERATOR') },
      prints: Boolean(printer),
      isDebug: /debug\/?$/.test(programs),
      stop,
    };
  } catch (error) {
    for (const child of children) console.error(readFileSync(child.log, 'utf8').slice(-4000));
    await stop();
    throw error;
  }
}

// Looks at `seen` until it says yes.
export async function eventually(what, seen) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await seen();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`still waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function ready(child, url) {
  await eventually(url, async () => {
    if (child.exitCode !== null) throw new Error(`${child.spawnfile} ended as it started`);
    return fetch(url).then((answer) => answer.ok, () => false);
  });
}

function readEnvironment(file) {
  if (!existsSync(file)) return {};
  const lines = readFileSync(file, 'utf8').split('\n').filter((line) => /^\w+=/.test(line));
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}

function makeDatabase(settings, undo) {
  const name = `turnpike_browser_${randomBytes(6).toString('hex')}`;
  const superuser = (...statements) =>
    execFileSync('psql', [settings.DATABASE_URL, '-qv', 'ON_ERROR_STOP=1', ...statements.flatMap((it) => ['-c', it])], { stdio: 'inherit' });
  const roles = settings.TURNPIKE_OWNER_DATABASE_URL && settings.TURNPIKE_DATABASE_URL;
  superuser(
    `CREATE DATABASE ${name}${roles ? ' OWNER turnpike_owner' : ''}`,
    `GRANT CONNECT ON DATABASE ${name} TO turnpike_app, turnpike_jobs`,
  );
  undo.push(() => superuser(`DROP DATABASE ${name} WITH (FORCE)`));
  const at = (address) => Object.assign(new URL(address), { pathname: `/${name}` }).href;
  return roles
    ? { owner: at(settings.TURNPIKE_OWNER_DATABASE_URL), control: at(settings.TURNPIKE_DATABASE_URL) }
    : { owner: at(settings.DATABASE_URL), control: at(settings.DATABASE_URL) };
}

// The names under which snapshots are published are fixed, so no two stacks share a
// database of Redis. The claims are those that the Rust harness makes.
async function claimRedis(address, undo) {
  const claims = await redisClient(address);
  let mine;
  await eventually('a free database of Redis', async () => {
    for (let number = 1; number < 16; number += 1) {
      if ((await claims('SET', `tests:database:${number}`, 'claimed', 'NX', 'EX', '1800')) === 'OK') {
        mine = number;
        return true;
      }
    }
    return false;
  });
  const url = Object.assign(new URL(address), { pathname: `/${mine}` }).href;
  const database = await redisClient(url);
  await database('FLUSHDB');
  undo.push(async () => {
    await database('FLUSHDB');
    await claims('DEL', `tests:database:${mine}`);
    claims.end();
    database.end();
  });
  return url;
}

// As much of a Redis client as that takes: one command at a time, with a short answer.
async function redisClient(address) {
  const url = new URL(address);
  const socket = connect(Number(url.port || 6379), url.hostname);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  const command = (...words) =>
    new Promise((resolve, reject) => {
      socket.once('data', (answer) => {
        const text = answer.toString().trimEnd();
        if (text.startsWith('-')) reject(new Error(text));
        else resolve(text.startsWith('$-1') ? null : text.slice(1));
      });
      socket.write(`*${words.length}\r\n${words.map((it) => `$${Buffer.byteLength(it)}\r\n${it}\r\n`).join('')}`);
    });
  if (url.password) await command('AUTH', decodeURIComponent(url.username || 'default'), decodeURIComponent(url.password));
  await command('SELECT', url.pathname.slice(1) || '0');
  return Object.assign(command, { end: () => socket.destroy() });
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((it) => new Promise((resolve) => it.once('listening', resolve))));
  const ports = servers.map((it) => it.address().port);
  await Promise.all(servers.map((it) => new Promise((resolve) => it.close(resolve))));
  return ports;
}
