// The application: a photo is sent, its portrait is looked at and corrected, a head is made, seen and saved.
// It talks to the HTTP API of the same server and to nobody else.

const $ = (id) => document.getElementById(id);
const STAGES = {
  portrait: "Find the face and cut it out",
  views: "Generate six views",
  reconstruction: "Place the Gaussians",
  refinement: "Fit them to the views",
  detail: "Draw the photo's own pixels",
  files: "Write the files",
};
const SECTIONS = ["choose", "correct", "progress", "result"];
const VIEWS = ["front", "front_right", "right", "back", "left", "front_left"];

let photo = null; // as it was given
let face = null; // which of several, or null
let portrait = null; // the id of the portrait that is shown or made
let head = null; // the id of the head
let events = null; // what is told of the one that is being made
let wish = 0; // counts what the visitor asks for: what answers an earlier one comes too late
let outdated = false; // whether the portrait is not as the options say
let defaults = { refinement: 60 };

// --- talking to the server

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer: is it still running?");
  }
  if (answer.ok) return answer;
  let detail = `The server refuses this (${answer.status}).`;
  try {
    detail = (await answer.json()).detail;
  } catch { /* no JSON */ }
  throw new Error(detail);
}

async function send(options) {
  if (photo.size > defaults.max_upload) {
    const limit = Math.floor(defaults.max_upload / 1e6);
    throw new Error(`The photo is too large: this server takes ${limit} MB; scale it down.`);
  }
  const query = new URLSearchParams({ ...options, attended: true });
  return (await ask(`heads?${query}`, { method: "POST", body: photo })).json();
}

function forget(id) {
  if (id) fetch(`heads/${id}`, { method: "DELETE", keepalive: true }).catch(() => {});
}

/** Calls `tell` with each status until it is over, which resolves; the place is held as long as this lasts. */
function follow(id, line, tell) {
  events?.close();
  return new Promise((resolve, reject) => {
    const source = (events = new EventSource(`heads/${id}/events`));
    source.onmessage = ({ data }) => {
      const status = JSON.parse(data);
      tell(status);
      if (["waiting", "running"].includes(status.state)) return;
      source.close();
      if (status.state === "done") resolve(status);
      else reject(new Error(status.error ?? "This was stopped."));
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) {
        reject(new Error("The connection was away for so long that your head was cancelled: start again."));
      } else {
        line.textContent = "The server does not answer; trying again …";
      }
    };
  });
}

// --- what is shown

function show(...sections) {
  for (const id of SECTIONS) $(id).hidden = !sections.includes(id);
  $(`${sections[0]}-title`).focus(); // or the keyboard would begin anew
}

function complain(error) {
  $("error").hidden = !error;
  $("error").textContent = error?.message ?? "";
  if (error) $("error").scrollIntoView({ block: "nearest" });
}

function queue(status) {
  if (!status.position) return "";
  const before = status.position === 1 ? "You are next" : `You are number ${status.position} in line`;
  const wait = status.seconds;
  const about = wait === null ? "" : wait < 90 ? `, about ${wait} second${wait === 1 ? "" : "s"}` : `, about ${Math.round(wait / 60)} minutes`;
  return `${before}${about}. Keep this page open.`;
}

function element(name, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

function showOutputs() {
  for (const input of $("options").querySelectorAll("input[type=range]")) {
    const value = `${input.value}${input.dataset.unit ?? ""}`;
    input.closest("label").querySelector("output").textContent = value;
    if (input.dataset.unit) input.setAttribute("aria-valuetext", value);
  }
}

// --- a photo

async function choose(blob) {
  if (!blob) return;
  closeCamera();
  giveUp();
  complain(null);
  photo = blob;
  for (const id of ["photo-image", "portrait"]) $(id).removeAttribute("src");
  $("faces").replaceChildren();
  $("warnings").hidden = true;
  resetOptions();
  show("correct");
  if (!(await prepare())) startOver(true);
}

/** The head that is being made, if any, is not wanted any more. */
function giveUp() {
  wish++;
  clearTimeout(settling);
  events?.close();
  if ($("progress").hidden) return;
  forget(head);
  history.replaceState(null, "", location.pathname);
}

function startOver(keepError) {
  if (!keepError) complain(null);
  giveUp();
  forget(portrait);
  portrait = photo = face = head = null;
  history.replaceState(null, "", location.pathname);
  $("viewer").removeAttribute("src");
  show("choose");
}

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) return $("capture").click(); // a phone's own, without https
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1920 } } });
    $("video").srcObject = stream;
    $("camera").hidden = false;
    $("snap").focus();
  } catch {
    complain(new Error("The camera cannot be used: allow it in the browser, or choose a photo."));
  }
}

function closeCamera() {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  $("video").srcObject = null;
  $("camera").hidden = true;
}

function snap() {
  const video = $("video");
  const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  if (!canvas.width) return;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob(choose, "image/jpeg", 0.95);
}

// --- the portrait

function framing() {
  const chosen = { seed: $("seed").value || 0, matting: $("matting").value };
  for (const id of ["tilt", "zoom", "shift_x", "shift_y"]) chosen[id] = $(id).value;
  if (face !== null) chosen.face = face;
  return chosen;
}

/** Has the portrait made anew; false if there is none. */
async function prepare() {
  clearTimeout(settling);
  outdated = false;
  const asked = ++wish;
  forget(portrait);
  for (const id of ["photo-image", "portrait"]) $(id).classList.add("busy");
  $("make").disabled = true;
  $("preparing").textContent = "Looking for the face";
  try {
    const started = await send({ ...framing(), only_portrait: true });
    if (asked !== wish) return forget(started.id) ?? true;
    portrait = started.id;
    showPortrait(await follow(started.id, $("preparing"), (status) => {
      $("preparing").textContent = queue(status) || "Looking for the face";
    }));
    complain(null);
  } catch (error) {
    if (asked !== wish) return true;
    complain(error);
    $("preparing").textContent = "";
    return $("portrait").hasAttribute("src");
  }
  for (const id of ["photo-image", "portrait"]) $(id).classList.remove("busy");
  $("make").disabled = false;
  $("preparing").textContent = "";
  return true;
}

function showPortrait(status) {
  $("photo-image").src = `heads/${status.id}/photo.jpg`;
  showMatte();
  const several = status.faces.length > 1;
  $("photo-caption").textContent = several ? "The photo: choose a face" : "The photo";
  $("faces").replaceChildren(...(several ? status.faces.map(faceButton) : []));
  $("warnings").hidden = !status.warnings.length;
  $("warnings").replaceChildren(...status.warnings.map(({ text }) => element("li", { textContent: text })));
}

function showMatte() {
  const matte = $("matte").checked;
  $("portrait").src = `heads/${portrait}/${matte ? "matte" : "portrait"}.png`;
  $("portrait").alt = matte ? "The matte: white where the person is" : "The portrait: cut out, on white";
}

function faceButton([left, top, right, bottom], number) {
  const button = element("button", { type: "button", title: `Face ${number + 1}` });
  button.setAttribute("aria-label", `Face ${number + 1}`);
  button.setAttribute("aria-pressed", String(number === (face ?? 0)));
  const share = (value) => `${100 * value}%`;
  Object.assign(button.style, { left: share(left), top: share(top), width: share(right - left), height: share(bottom - top) });
  button.addEventListener("click", () => {
    face = number;
    prepare();
  });
  return button;
}

let settling;
function changed(event) {
  showOutputs();
  if (["seed", "refinement"].includes(event?.target?.name)) return; // no matter of the portrait
  outdated = true;
  clearTimeout(settling);
  settling = setTimeout(prepare, 400);
}

function resetOptions() {
  $("options").reset();
  $("refinement").value = defaults.refinement;
  face = null;
  showOutputs();
}

// --- the head

async function make() {
  clearTimeout(settling);
  const asked = ++wish;
  complain(null);
  $("make").disabled = true;
  const options = framing();
  if (Number($("refinement").value) !== defaults.refinement) options.refinement = $("refinement").value;
  try {
    const { id } = await send(options).finally(() => ($("make").disabled = false));
    if (asked !== wish) return forget(id);
    await attend(id);
  } catch (error) {
    if (asked !== wish) return;
    show("correct");
    complain(error);
  }
}

async function attend(id) {
  head = id;
  history.replaceState(null, "", `#${id}`);
  show("progress");
  $("stages").replaceChildren(
    ...Object.entries(STAGES).map(([name, text]) => element("li", { id: `stage-${name}`, textContent: text })),
  );
  $("progress").scrollIntoView({ block: "start" });
  showResult(await follow(id, $("line"), showProgress));
}

function showProgress(status) {
  $("line").textContent = queue(status) || (status.stage ? `${STAGES[status.stage]} …` : "Starting …");
  const names = Object.keys(STAGES);
  const now = names.indexOf(status.stage);
  for (const [place, name] of names.entries()) {
    const item = $(`stage-${name}`);
    item.className = place < now ? "done" : place === now ? "now" : "";
    if (place === now) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
    const steps = place === now ? status.step : null;
    const bar = steps ? [element("progress", { value: steps[0], max: steps[1] })] : [];
    item.replaceChildren(STAGES[name], ...bar);
  }
}

function showResult(status) {
  show("result");
  const files = Object.fromEntries(status.files.map((file) => [file.name, file]));
  $("viewer").hidden = !files["head.html"];
  if (files["head.html"]) $("viewer").src = files["head.html"].url;
  $("views").replaceChildren(...VIEWS.map((name) => {
    const text = name.replace("_", " ");
    const image = element("img", { src: files[`view_${name}.png`].url, alt: `The head, ${text}`, loading: "lazy" });
    return element("li", {}, element("figure", {}, image, element("figcaption", { textContent: text })));
  }));
  $("files").replaceChildren(...status.files.filter(({ name }) => !name.startsWith("view_")).map(fileButton));
  $("again").hidden = !photo;
}

function fileButton(file) {
  const what = element("small", { textContent: file.what });
  const button = element("button", { type: "button" }, element("strong", { textContent: file.name }), what);
  button.addEventListener("click", async () => {
    button.disabled = true;
    what.textContent = file.made ? "Loading …" : "Being made …";
    try {
      const blob = await (await ask(file.url)).blob();
      const address = URL.createObjectURL(blob);
      element("a", { href: address, download: file.name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
      file.made = true;
      what.textContent = file.what;
    } catch (error) {
      what.textContent = error.message;
    }
    button.disabled = false;
  });
  return element("li", {}, button);
}

async function resume(id) {
  const asked = ++wish;
  try {
    const status = await (await ask(`heads/${encodeURIComponent(id)}`)).json();
    if (asked !== wish) return;
    head = id;
    if (status.state === "done") showResult(status);
    else await attend(id);
  } catch (error) {
    if (asked !== wish) return;
    startOver(true);
    complain(error);
  }
}

// --- what people do

$("pick").addEventListener("click", () => $("file").click());
$("shoot").addEventListener("click", openCamera);
$("snap").addEventListener("click", snap);
$("close-camera").addEventListener("click", closeCamera);
for (const id of ["file", "capture"]) {
  $(id).addEventListener("change", ({ target }) => {
    choose(target.files[0]);
    target.value = ""; // the same one may be chosen again
  });
}
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", async () => {
    try {
      choose(await (await ask(`static/examples/${button.dataset.example}`)).blob());
    } catch (error) {
      complain(error);
    }
  });
}
document.addEventListener("paste", ({ clipboardData }) => {
  const image = [...clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (image) choose(image);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  choose(event.dataTransfer.files[0]);
});
$("options").addEventListener("input", changed);
$("options").addEventListener("submit", (event) => event.preventDefault());
$("matte").addEventListener("change", showMatte);
$("dice").addEventListener("click", () => ($("seed").value = Math.floor(Math.random() * 2 ** 31)));
$("reset").addEventListener("click", () => {
  resetOptions();
  prepare();
});
$("make").addEventListener("click", make);
function revise() {
  show(photo ? "correct" : "choose");
  if (photo && outdated) prepare();
}
$("stop").addEventListener("click", () => {
  giveUp();
  revise();
});
$("again").addEventListener("click", revise);
$("delete").addEventListener("click", async () => {
  $("delete").disabled = true;
  try {
    await ask(`heads/${head}`, { method: "DELETE" });
    startOver();
  } catch (error) {
    complain(error);
  }
  $("delete").disabled = false;
});
for (const button of document.querySelectorAll(".over")) button.addEventListener("click", () => startOver());

ask("info").then((answer) => answer.json()).then((info) => {
  defaults = info;
  $("refinement").value = info.refinement;
  showOutputs();
  const time = info.minutes < 90 ? `${info.minutes} minutes` : `${Math.round(info.minutes / 60)} hours`;
  $("promise").textContent = `Photos and heads stay on this server, and are deleted after ${time}.`;
  $("until").textContent = `It is deleted after ${time}.`;
}).catch(complain);
showOutputs();
function open() {
  if (location.hash.length > 1) resume(location.hash.slice(1));
}
addEventListener("hashchange", open);
open();
