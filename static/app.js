{
const $ = (s, r = document) => r.querySelector(s), all = (s, r = document) => [...r.querySelectorAll(s)];
const on = (name, f) => document.addEventListener(name, f);
const say = $("body").dataset, POLLS = "[data-poll]";

const toast = (text, tone = "", lasts = 6e3) => {
	if (!text) return;
	const box = Object.assign(document.createElement("div"), { className: "toast " + tone, textContent: text });
	$("#toasts").replaceChildren(box);
	setTimeout(() => box.remove(), lasts);
};

on("htmx:configRequest", (e) => { e.detail.headers["X-CSRFToken"] = $("meta[name=csrf-token]").content; });
on("htmx:beforeRequest", (e) => { if (document.hidden && e.detail.elt.matches(POLLS)) e.preventDefault(); });
on("visibilitychange", () => document.hidden || all(POLLS).forEach((el) => window.htmx?.trigger(el, "wake")));
on("toast", ({ detail: d }) => toast(d.text ?? d.value, d.tone));
on("htmx:responseError", ({ detail: { xhr, elt } }) => {
	if (xhr.status >= 500 && !elt.matches(POLLS))
		toast(say.failed + " " + (xhr.getResponseHeader("X-Request-Id") ?? ""), "bad", 12e3);
});
on("htmx:afterRequest", ({ detail, target: t }) => detail.successful && t.matches("[data-clear]") && t.reset());
on("htmx:sendError", () => toast(say.offline, "bad", 12e3));

const fresh = (root) => {
	all("[data-js]", root).forEach((el) => (el.hidden = !1));
	ago(root);
	$("[data-focus]", root)?.focus();
};
const STEPS = [[60,"second"],[60,"minute"],[24,"hour"],[7,"day"],[30/7,"week"],[12,"month"],[99,"year"]];
const ago = (root = document) => all("time[data-rel]", root).forEach((el) => {
	let n = (new Date(el.dateTime) - Date.now()) / 1e3;
	for (const [size, unit] of STEPS) {
		if (Math.abs(n) < size) {
			n = Math.round(n);
			el.textContent = new Intl.RelativeTimeFormat($("html").lang, n ? {} : {numeric: "auto"}).format(n, unit);
			break;
		}
		n /= size;
	}
});
on("htmx:afterSwap", (e) => fresh(e.detail.elt));
setInterval(() => document.hidden || ago(), 3e4);

on("click", (e) => {
	const el = e.target.closest("[data-open],[data-close],[data-copy],[data-reveal]");
	if (!el) return;
	const d = el.dataset;
	if (d.open) $("#" + d.open)?.showModal();
	if ("close" in d) el.closest("dialog").close();
	if (d.copy) navigator.clipboard.writeText($("#" + d.copy).textContent.trim()).then(() => toast(say.copied));
	if (d.reveal) {
		const field = $("#" + d.reveal), hide = field.type == "text";
		field.type = hide ? "password" : "text";
		el.setAttribute("aria-pressed", !hide);
	}
});

on("change", ({ target: { form } }) => {
	const el = form && $("[data-chosen]", form), d = el?.dataset;
	if (el) el.textContent = d.chosen.replace("#", $("[name=all]:checked", form) ? d.all : all("[name=id]:checked", form).length);
});

on("keydown", (e) => {
	if (say.shortcuts != "on" || e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input,textarea,select,[contenteditable]")) return;
	const search = $("[data-search]");
	if (e.key == "/" && search) { e.preventDefault(); search.focus(); search.select(); }
	if (e.key == "?") $("#shortcuts")?.showModal();
});

fresh(document);
}
