// The running stack that client libraries are tried against, and the simulator behind it.
const { env } = process;
export const URL = `${env.TURNPIKE_DATA_URL}/v1`;
export const KEY = env.TURNPIKE_API_KEY;
// May make one request a minute.
export const LIMITED_KEY = env.TURNPIKE_LIMITED_KEY;
export const WRONG_KEY = `tpk_live_${'x'.repeat(40)}`;

// The smallest picture there is.
export const DOT =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==';

async function control(method, path, body) {
  const answer = await fetch(`${env.TURNPIKE_SIMULATOR_URL}/__control${path}`, { method, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`);
  return answer.json();
}

// While `work` lasts, the provider's calls in `scope` go wrong so.
export async function withFault(fault, scope, work) {
  await control('POST', '/faults', { fault, ...scope });
  try {
    return await work();
  } finally {
    await control('DELETE', '/faults');
  }
}

export const lastCall = async () => (await control('GET', '/calls')).last;

// Waits for the first call after `number` to end, and tells what the provider saw.
export const callEndedAfter = async (number) =>
  (await control('GET', `/calls?after=${number}&finished=1&wait_ms=10000`)).calls[0];

// Wraps a test of what the data plane does not do yet; once it does, the mark is a failure.
export const notYet = (body) => async (...given) => {
  let failed = false;
  await Promise.resolve(body(...given)).catch(() => { failed = true; });
  if (!failed) throw new Error('this works by now: take the mark away');
};
