// three.js's own loaders and its GaussianSplat, which WebGPURenderer draws with WebGL 2.
import * as THREE from 'three/webgpu';
import {GaussianSplat} from 'three/addons/objects/GaussianSplat.js';
import {GaussianSplatPLYLoader} from 'three/addons/loaders/GaussianSplatPLYLoader.js';
import {GLTFGaussianSplatLoaderExtension} from 'three/addons/loaders/GLTFGaussianSplatLoaderExtension.js';
import {GLTFLoader} from 'three/addons/loaders/GLTFLoader.js';
import {SPLATLoader} from 'three/addons/loaders/SPLATLoader.js';
import {SPZLoader} from 'three/addons/loaders/SPZLoader.js';

const loaders = {ply: GaussianSplatPLYLoader, splat: SPLATLoader, spz: SPZLoader};

async function load(url) {
  const suffix = url.split('.').pop();
  if (suffix !== 'glb') return new GaussianSplat(await new loaders[suffix]().loadAsync(url));
  const loader = new GLTFLoader();
  loader.register(parser => new GLTFGaussianSplatLoaderExtension(parser));
  return (await loader.loadAsync(url)).scene;
}

export async function show(canvas, url, {turn, position}) {
  const renderer = new THREE.WebGPURenderer({canvas, antialias: false, forceWebGL: true});
  renderer.outputColorSpace = THREE.LinearSRGBColorSpace; // splats hold colours as they are shown
  await renderer.init();
  const scene = new THREE.Scene();
  scene.background = new THREE.Color('white');
  const head = await load(url);
  head.rotation.set(...turn.map(THREE.MathUtils.degToRad));
  scene.add(head);
  const camera = new THREE.PerspectiveCamera(50, 1, 0.01, 100);
  camera.position.set(...position);
  camera.lookAt(0, 0, 0);
  renderer.setAnimationLoop(() => renderer.render(scene, camera));
  return () => renderer.setAnimationLoop(null);
}
