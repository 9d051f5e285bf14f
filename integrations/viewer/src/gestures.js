// Mouse, touch and wheel: one finger turns, two zoom and shift, twice centres.

const TAP_SECONDS = 0.35;
const TAP_PIXELS = 24;
const SLOP = 6; // pixels that a finger may move while it taps

/**
 * @param {HTMLElement} canvas what is touched.
 * @param {import("./orbit.js").Orbit} orbit what turns.
 * @param {{touched: () => void, centered: (x: number, y: number) => void}} on what else happens.
 */
export function listen(canvas, orbit, on) {
    const fingers = new Map(); // pointerId -> where it is
    let start = null; // of a press that may be a tap
    let last = null; // the tap before

    const shift = (dx, dy) => {
        const height = Math.min(canvas.clientWidth, canvas.clientHeight);
        orbit.pan(-dx / height, dy / height);
    };
    const spread = () => {
        const [a, b] = [...fingers.values()];
        return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, distance: Math.hypot(a.x - b.x, a.y - b.y) };
    };

    canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
        start = fingers.size === 1 ? { x: event.offsetX, y: event.offsetY, time: event.timeStamp } : null;
        on.touched();
    });

    canvas.addEventListener("pointermove", (event) => {
        const finger = fingers.get(event.pointerId);
        if (!finger) return;
        const before = fingers.size === 2 ? spread() : null;
        const [dx, dy] = [event.offsetX - finger.x, event.offsetY - finger.y];
        fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
        if (start && Math.hypot(event.offsetX - start.x, event.offsetY - start.y) > SLOP) start = null;
        if (before) {
            const after = spread();
            orbit.zoom(before.distance / Math.max(after.distance, 1));
            shift(after.x - before.x, after.y - before.y);
        } else if (fingers.size === 1) {
            if (event.shiftKey || event.buttons & 6) shift(dx, dy);
            else orbit.rotate(-dx * degrees(canvas), dy * degrees(canvas));
        }
    });

    const lift = (event) => {
        const tapped = fingers.delete(event.pointerId) && start && event.type === "pointerup";
        if (!tapped || event.pointerType !== "touch") return;
        const tap = { x: event.offsetX, y: event.offsetY, time: event.timeStamp };
        const again = last && tap.time - last.time < 1000 * TAP_SECONDS;
        if (again && Math.hypot(tap.x - last.x, tap.y - last.y) < TAP_PIXELS) {
            on.centered(tap.x, tap.y);
            last = null;
        } else {
            last = tap;
        }
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener("dblclick", (event) => on.centered(event.offsetX, event.offsetY));
    canvas.addEventListener("touchend", (event) => event.preventDefault()); // else a dblclick follows, later
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());

    canvas.addEventListener(
        "wheel",
        (event) => {
            // Within another page the wheel scrolls that page, until the head is clicked on.
            if (window.parent !== window && document.activeElement !== canvas) return;
            event.preventDefault();
            on.touched();
            const pixels = event.deltaY * [1, 16, 400][event.deltaMode];
            orbit.zoom(Math.exp(Math.max(-200, Math.min(200, pixels)) * (event.ctrlKey ? 0.01 : 0.0015)));
        },
        { passive: false },
    );
}

/** Degrees that one pixel turns: half a turn from edge to edge of a small page. */
const degrees = (canvas) => 180 / Math.max(360, Math.min(canvas.clientWidth, canvas.clientHeight));
