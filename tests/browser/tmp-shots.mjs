import { chromium } from 'playwright-core';
import { readFileSync } from 'node:fs';
const env = Object.fromEntries(readFileSync('../../.run/pics/demo.env','utf8').split('\n').filter(l=>/^\w+=/.test(l)).map(l=>[l.slice(0,l.indexOf('=')), l.slice(l.indexOf('=')+1).replace(/^'|'$/g,'')]));
const base = env.TURNPIKE_PUBLIC_URL || env.TURNPIKE_URL || Object.values(env).find(v=>/^http/.test(v));
console.log(Object.keys(env).join(' '));
const b = await chromium.launch({ executablePath:'/usr/bin/chromium', args:['--no-sandbox','--disable-gpu'] });
const shot = async (mode, opts, list) => {
  const c = await b.newContext({ baseURL: base, ...opts }); const p = await c.newPage();
  await p.goto('/login'); await p.fill('[name=email]', env.TURNPIKE_OWNER_EMAIL); await p.fill('[name=password]', env.TURNPIKE_OWNER_PASSWORD); await p.click('main button[type=submit]'); await p.waitForURL(u=>u.pathname!=='/login');
  await p.goto('/orgs'); const home = await p.locator('main a[href^="/orgs/"]:not([href="/orgs/new"])').first().getAttribute('href');
  await p.goto(home+'/policies'); await p.getByRole('link',{name:'support-chat',exact:true}).first().click(); await p.waitForLoadState(); const pol = new URL(p.url()).pathname;
  for (const [name, path] of list(home, pol)) { await p.goto(path); await p.screenshot({ path:`/tmp/tp/shot-${name}-${mode}.png`, fullPage:true }); }
  await c.close();
};
const all = (h,pol)=>[['policy',pol],['simulate',pol+'/simulate'],['learning',h+'/learning'],['defaults',h+'/settings'],['edit',pol+'/edit'],['providers',h+'/models'],['requests',h+'/requests']];
await shot('light',{viewport:{width:1280,height:800}},all);
await shot('dark',{viewport:{width:1280,height:800},colorScheme:'dark'},(h,p)=>[['simulate',p+'/simulate'],['learning',h+'/learning']]);
await shot('phone',{viewport:{width:390,height:844}},(h,p)=>[['simulate',p+'/simulate'],['learning',h+'/learning'],['policy',p]]);
await b.close();
