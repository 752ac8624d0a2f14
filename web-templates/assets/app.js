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
