// The picture: a canvas that PlayCanvas draws Gaussians on, in a world with y up and the face along +z.
import {
    AppBase,
    AppOptions,
    Asset,
    CameraComponentSystem,
    Color,
    Entity,
    GSPLATDATA_LARGE,
    GSplatComponentSystem,
    GSplatHandler,
    RESOLUTION_AUTO,
    Vec3,
    WebglGraphicsDevice,
} from "playcanvas";

const MAX_PIXEL_RATIO = 2; // a phone's third pixel costs twice the work and is not seen

export class Splats {
    /**
     * @param {HTMLCanvasElement} canvas to draw on, as large as the page makes it.
     * @param {number} fov of the shorter side, in degrees.
     * @throws {Error} where there is no WebGL 2.
     */
    constructor(canvas, fov) {
        const device = new WebglGraphicsDevice(canvas, { alpha: false, antialias: false });
        device.maxPixelRatio = Math.min(window.devicePixelRatio, MAX_PIXEL_RATIO);
        const options = new AppOptions();
        options.graphicsDevice = device;
        options.componentSystems = [CameraComponentSystem, GSplatComponentSystem];
        options.resourceHandlers = [GSplatHandler];
        this.app = new AppBase(canvas);
        this.app.init(options);
        this.app.autoRender = false;
        this.app.scene.gsplat.dataFormat = GSPLATDATA_LARGE; // colours and rotations as the file has them
        this.app.scene.gsplat.minPixelSize = 0;
        this.app.scene.gsplat.minContribution = 0;

        this.camera = new Entity();
        this.camera.addComponent("camera", { fov });
        this.app.root.addChild(this.camera);
        this.app.systems.gsplat.on("frame:request", () => this.redraw()); // sorted anew
        device.on("devicerestored", () => this.redraw()); // phones take the GPU from pages in the background
        this.app.setCanvasResolution(RESOLUTION_AUTO);
        new ResizeObserver(() => this.fit()).observe(canvas);
        this.fit();
    }

    /** The whole of the frame that `fov` spans is seen, whether the page is wide or high. */
    fit() {
        const { clientWidth, clientHeight } = this.app.graphicsDevice.canvas;
        this.app.updateCanvasSize();
        this.camera.camera.horizontalFov = clientWidth < clientHeight;
        this.redraw();
    }

    redraw() {
        this.app.renderNextFrame = true;
    }

    /**
     * Show the Gaussians of a PLY file, plain or compressed, whose axes are COLMAP's (y down, z forward).
     *
     * @param {Response} response with the file.
     * @param {(share: number) => void} progress told how much of it is here.
     * @returns {Promise<void>} when the first picture is on the canvas.
     */
    async load(response, progress) {
        const asset = new Asset("scene", "gsplat", { url: "scene.ply", filename: "scene.ply", contents: response });
        this.app.assets.add(asset);
        await new Promise((resolve, reject) => {
            asset.on("progress", (received, whole) => whole && progress(received / whole));
            asset.once("load", resolve);
            asset.once("error", (error) => reject(new Error(error)));
            this.app.assets.load(asset);
        });
        const entity = new Entity();
        entity.addComponent("gsplat", { asset });
        entity.setLocalEulerAngles(180, 0, 0);
        this.app.root.addChild(entity);
        this.centers = asset.resource.centers;
        await new Promise((resolve) => {
            const drawn = (camera, layer, ready, loading) => {
                this.redraw();
                if (ready && loading === 0) {
                    this.app.systems.gsplat.off("frame:ready", drawn);
                    this.app.once("frameend", () => requestAnimationFrame(resolve));
                }
            };
            this.app.systems.gsplat.on("frame:ready", drawn);
            this.redraw();
        });
    }

    /** Call `update(seconds)` before each frame. */
    start(update) {
        this.app.on("update", update);
        this.app.start();
    }

    /** Draw from `position` towards `target`, three numbers each. */
    look(position, target) {
        const distance = Math.hypot(...position.map((x, i) => x - target[i]));
        this.camera.setPosition(...position);
        this.camera.lookAt(...target);
        this.camera.camera.nearClip = distance / 100;
        this.camera.camera.farClip = distance * 1000;
        this.redraw();
    }

    /** @param {number[]} color red, green and blue in [0, 1]. */
    setBackground(color) {
        this.camera.camera.clearColor = new Color(...color);
        this.redraw();
    }

    /**
     * The point of the surface under a pixel of the page, or null beside it.
     *
     * Of the centres drawn within `reach` pixels, the nearest tenth: the very nearest may float before the surface.
     */
    pick(x, y, reach = 8) {
        const { camera } = this.camera;
        const { clientWidth, clientHeight } = this.app.graphicsDevice.canvas;
        const eye = camera.viewMatrix.data;
        const [fx, fy] = [camera.projectionMatrix.data[0], camera.projectionMatrix.data[5]];
        const found = [];
        for (let i = 0; i < this.centers.length; i += 3) {
            const [a, b, c] = [this.centers[i], -this.centers[i + 1], -this.centers[i + 2]];
            const depth = -(eye[2] * a + eye[6] * b + eye[10] * c + eye[14]);
            if (depth <= 0) continue;
            const across = ((fx * (eye[0] * a + eye[4] * b + eye[8] * c + eye[12])) / depth + 1) * clientWidth;
            const down = (1 - (fy * (eye[1] * a + eye[5] * b + eye[9] * c + eye[13])) / depth) * clientHeight;
            if (Math.hypot(across / 2 - x, down / 2 - y) < reach) found.push(depth);
        }
        if (found.length === 0) return null;
        found.sort((a, b) => a - b);
        const depth = found[Math.floor(found.length / 10)];
        const local = new Vec3(
            (((2 * x) / clientWidth - 1) * depth) / fx,
            ((1 - (2 * y) / clientHeight) * depth) / fy,
            -depth,
        );
        const point = camera.viewMatrix.clone().invert().transformPoint(local);
        return [point.x, point.y, point.z];
    }
}
