// Comforts. Every page works without them.
const announce = (text) => {
  const live = document.getElementById('live');
  if (live) live.textContent = text;
};

document.addEventListener('click', async (event) => {
  const copy = event.target.closest('[data-copy]');
  if (copy) {
    const source = document.getElementById(copy.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      copy.lastChild.textContent = 'Copied';
      announce('Copied');
    } catch {
      getSelection().selectAllChildren(source);
      announce('Selected: copy with your keyboard');
    }
    return;
  }
  const show = event.target.closest('[data-shows]');
  if (show) {
    const input = document.getElementById(show.dataset.shows);
    const hidden = input.type === 'password';
    input.type = hidden ? 'text' : 'password';
    show.textContent = hidden ? 'Hide' : 'Show';
    show.setAttribute('aria-pressed', String(hidden));
  }
});

// Buttons that need a script are hidden until there is one.
for (const hidden of document.querySelectorAll('[data-needs-script]')) hidden.hidden = false;

document.querySelector('.summary')?.focus();

document.addEventListener('keydown', (event) => {
  const typing = event.target.closest('input, textarea, select');
  if (event.key === '/' && !typing) {
    const filter = document.querySelector('[data-filter]');
    if (filter) {
      event.preventDefault();
      filter.focus();
    }
  }
});

// A list that goes on by itself while its button is pressed.
let source;
const follow = (on) => {
  source?.close();
  const button = document.querySelector('[data-follows]');
  const list = document.querySelector('[data-tail]');
  button.setAttribute('aria-pressed', String(on && Boolean(list)));
  if (!on || !list) return;
  source = new EventSource(list.dataset.tail);
  source.addEventListener('rows', (event) => {
    const rows = list.querySelector('tbody');
    // There was nothing yet to add to.
    if (!rows) return location.reload();
    const fresh = document.createElement('template');
    fresh.innerHTML = event.data;
    const come = fresh.content.querySelectorAll('tr');
    for (const row of come) document.getElementById(row.id)?.remove();
    rows.prepend(fresh.content);
    while (rows.rows.length > 50) rows.deleteRow(-1);
    announce(`${come.length} new`);
  });
};
document.querySelector('[data-follows]')?.addEventListener('click', (event) => {
  follow(event.currentTarget.getAttribute('aria-pressed') !== 'true');
});
// Another filter, another list.
document.addEventListener('htmx:after:swap', () => {
  if (document.querySelector('[data-follows][aria-pressed=true]')) follow(true);
});
