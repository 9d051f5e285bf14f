// Spark, a renderer of splats for three.js.
import * as THREE from 'three';
import {SparkRenderer, SplatMesh} from '@sparkjsdev/spark';

export async function show(canvas, url, {turn, position}) {
  const renderer = new THREE.WebGLRenderer({canvas, antialias: false});
  const scene = new THREE.Scene();
  scene.background = new THREE.Color('white');
  scene.add(new SparkRenderer({renderer}));
  const head = new SplatMesh({url});
  await head.initialized;
  head.rotation.set(...turn.map(THREE.MathUtils.degToRad));
  scene.add(head);
  const camera = new THREE.PerspectiveCamera(50, 1, 0.01, 100);
  camera.position.set(...position);
  camera.lookAt(0, 0, 0);
  renderer.setAnimationLoop(() => renderer.render(scene, camera));
  return () => renderer.setAnimationLoop(null);
}
