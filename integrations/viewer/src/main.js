// The page: what is on it (see facelift/page/template.html), and what buttons and keys do.
import { listen } from "./gestures.js";
import { Orbit } from "./orbit.js";
import { Splats } from "./splats.js";

const element = (id) => document.getElementById(id);
const scene = JSON.parse(element("scene").textContent);
const lessMotion = window.matchMedia("(prefers-reduced-motion: reduce)");
const darkness = window.matchMedia("(prefers-color-scheme: dark)");
const orbit = new Orbit(scene, lessMotion.matches);
lessMotion.addEventListener("change", () => {
    orbit.still = lessMotion.matches;
});

const STEP = 10; // degrees that an arrow key turns
const SHIFT = 0.05; // parts of the distance that it moves the picture
const ZOOM = 1.15;

main().catch((error) => fail(`The head cannot be shown: ${error.message}.`));

async function main() {
    let splats;
    try {
        splats = new Splats(element("canvas"), scene.fov);
    } catch {
        fail(
            "This browser does not offer WebGL 2, which 3D needs. " +
                "Update it, or switch on hardware acceleration in its settings.",
        );
        return;
    }
    const paint = () => splats.setBackground(shade());
    darkness.addEventListener("change", paint);
    paint();
    splats.look(orbit.position, orbit.pose.target);
    splats.start((seconds) => {
        if (orbit.update(seconds)) splats.look(orbit.position, orbit.pose.target);
    });
    await splats.load(await file(), (share) => say(`Loading, ${Math.round(100 * share)} %`));
    say("");
    document.body.dataset.state = "ready";
    turn(scene.turning && !lessMotion.matches);
    control(splats, paint);
}

/** The Gaussians: in the page itself, or beside it. */
async function file() {
    if (!scene.url) {
        const text = atob(element("splats").textContent);
        return new Response(Uint8Array.from(text, (letter) => letter.charCodeAt(0)));
    }
    const response = await fetch(scene.url);
    if (!response.ok) throw new Error(`${scene.url} answers ${response.status}`);
    return response;
}

function control(splats, paint) {
    const home = () => {
        turn(false);
        orbit.reset();
    };
    listen(element("canvas"), orbit, {
        touched: () => turn(false),
        centered: (x, y) => orbit.center(splats.pick(x, y) ?? orbit.home.target),
    });
    element("home").addEventListener("click", home);
    element("turn").addEventListener("click", () => turn(!orbit.turning));
    element("help").addEventListener("click", () => element("keys").showModal());
    element("background").addEventListener("input", ({ target }) => {
        document.body.style.setProperty("--background", target.value);
        paint();
    });
    if (document.fullscreenEnabled) {
        element("fullscreen").hidden = false;
        element("fullscreen").addEventListener("click", fullscreen);
    }

    const move = {
        ArrowLeft: [-1, 0],
        ArrowRight: [1, 0],
        ArrowUp: [0, 1],
        ArrowDown: [0, -1],
    };
    const press = {
        "+": () => orbit.zoom(1 / ZOOM),
        "=": () => orbit.zoom(1 / ZOOM),
        "-": () => orbit.zoom(ZOOM),
        Home: home,
        p: home,
        c: () => orbit.center(orbit.home.target),
        " ": () => turn(!orbit.turning),
        b: () => element("background").click(),
        f: () => element("fullscreen").click(),
        "?": () => element("help").click(),
    };
    window.addEventListener("keydown", (event) => {
        const taken = event.key === " " ? "button, input" : "input"; // a button is pressed with the space bar
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (element("keys").open || event.target.closest(taken)) return;
        const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
        if (move[key]) {
            const [right, up] = move[key];
            turn(false);
            if (event.shiftKey) orbit.pan(SHIFT * right, SHIFT * up);
            else orbit.rotate(-STEP * right, -STEP * up); // the head follows, as it does a finger
        } else if (press[key]) {
            if (key !== " ") turn(false);
            press[key]();
        } else {
            return;
        }
        event.preventDefault();
    });
}

function turn(on) {
    orbit.turning = on;
    element("turn").setAttribute("aria-pressed", on);
}

function fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen();
}

/** The background's red, green and blue in [0, 1]; the button shows it, too. */
function shade() {
    const color = getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).map(Number);
    element("background").value = `#${color.map((x) => x.toString(16).padStart(2, "0")).join("")}`;
    return color.map((x) => x / 255);
}

function say(text) {
    element("message").textContent = text;
}

function fail(text) {
    say(text);
    document.body.dataset.state = "failed";
}
