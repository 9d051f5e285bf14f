// Where the camera is: it circles a target, and follows its goal smoothly.

const MAX_ELEVATION = 89;
const FOLLOW = 0.09; // seconds in which the camera comes nearer to its goal by a factor of e
const TURN = -24; // degrees a second, the way that a turntable video goes
const RADIANS = Math.PI / 180;

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

export class Orbit {
    /**
     * @param {{position: number[], target: number[]}} home the view to begin with and to come back to.
     * @param {boolean} still jump to the goal: for those who asked their system for less motion.
     */
    constructor({ position, target }, still) {
        const [x, y, z] = position.map((value, i) => value - target[i]);
        const distance = Math.hypot(x, y, z);
        this.home = {
            azimuth: Math.atan2(x, z) / RADIANS,
            elevation: Math.asin(y / distance) / RADIANS,
            distance,
            target,
        };
        this.still = still;
        this.turning = false;
        this.pose = { ...this.home };
        this.goal = { ...this.home };
    }

    reset() {
        const turns = Math.round((this.goal.azimuth - this.home.azimuth) / 360);
        this.goal = { ...this.home, azimuth: this.home.azimuth + 360 * turns }; // the short way round
    }

    /** By degrees. */
    rotate(azimuth, elevation) {
        this.goal.azimuth += azimuth;
        this.goal.elevation = clamp(this.goal.elevation + elevation, -MAX_ELEVATION, MAX_ELEVATION);
    }

    /** Multiply the distance. */
    zoom(factor) {
        const { distance } = this.home;
        this.goal.distance = clamp(this.goal.distance * factor, distance / 20, distance * 5);
    }

    /** Move the target in the plane of the picture, by parts of the distance. */
    pan(right, up) {
        const [sa, ca] = [Math.sin(this.goal.azimuth * RADIANS), Math.cos(this.goal.azimuth * RADIANS)];
        const [se, ce] = [Math.sin(this.goal.elevation * RADIANS), Math.cos(this.goal.elevation * RADIANS)];
        const [x, y, z] = [right * ca - up * se * sa, up * ce, -right * sa - up * se * ca];
        this.center(this.goal.target.map((value, i) => value + this.goal.distance * [x, y, z][i]));
    }

    center(target) {
        this.goal.target = target;
    }

    /** Go on by some seconds; false if nothing moved. */
    update(seconds) {
        if (this.turning) this.goal.azimuth += TURN * seconds;
        const share = this.still ? 1 : 1 - Math.exp(-seconds / FOLLOW);
        const [pose, goal] = [numbers(this.pose), numbers(this.goal)];
        if (pose.every((value, i) => value === goal[i])) return false;
        const near = pose.every((value, i) => Math.abs(value - goal[i]) < 1e-4 * (i < 2 ? 90 : goal[2]));
        const [azimuth, elevation, distance, ...target] = near
            ? goal
            : pose.map((value, i) => value + share * (goal[i] - value));
        this.pose = { azimuth, elevation, distance, target };
        return true;
    }

    get position() {
        const { azimuth, elevation, distance, target } = this.pose;
        const flat = Math.cos(elevation * RADIANS);
        return [
            target[0] + distance * flat * Math.sin(azimuth * RADIANS),
            target[1] + distance * Math.sin(elevation * RADIANS),
            target[2] + distance * flat * Math.cos(azimuth * RADIANS),
        ];
    }
}

const numbers = ({ azimuth, elevation, distance, target }) => [azimuth, elevation, distance, ...target];
