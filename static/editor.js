{
const $ = (s, r = document) => r.querySelector(s);
const FIELDS = "[data-vars]";
let last, mine;

const changed = (field) => field.dispatchEvent(new Event("input", { bubbles: true }));

// A variable goes where the caret was last: in the text, the header, a button's address.
document.addEventListener("focusin", ({ target }) => { if (target.matches(FIELDS)) last = target; });
document.addEventListener("click", (e) => {
	const button = e.target.closest("[data-insert]");
	if (!button) return;
	e.preventDefault();
	const field = last?.isConnected && last.offsetParent ? last : $("#body");
	field.setRangeText(`{${button.dataset.insert}}`, field.selectionStart, field.selectionEnd, "end");
	field.focus();
	changed(field);
});

// The name follows the title until somebody writes one.
const slug = (text) => text.normalize("NFKD").replace(/[^\x00-\x7f]/g, "").toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_+|_+$/g, "").slice(0, 120);
document.addEventListener("input", ({ target }) => {
	const name = $("[data-slug]");
	if (target == name) mine = name.value != "";
	if (target.matches("[data-title]") && name && !mine) name.value = slug(target.value);
}, true);
const start = $("[data-slug]");
mine = !!start?.value && start.value != slug($("[data-title]").value);

// A pressed button brings the whole form back: no preview may overtake it, nor come after it from before.
document.addEventListener("htmx:beforeRequest", (e) => {
	const { elt } = e.detail;
	if (elt.id == "editor" && $("[formaction].htmx-request", elt)) e.preventDefault();
	if (elt.matches("[formaction]")) window.htmx.trigger("#editor", "htmx:abort");
});

// Only the summary is read aloud, and only when it says something new.
document.addEventListener("htmx:afterSettle", () => {
	const said = $("#said"), now = $("#lint-summary")?.textContent.trim();
	if (said && now && said.textContent != now) said.textContent = now;
});
}
