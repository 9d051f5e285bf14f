"""How light meets skin, hair and cloth: the OpenGL programs of the renderer, as text.

Lamps are in units in which a white matte surface facing one has the lamp's colour.
"""

from __future__ import annotations

MAX_LAMPS = 4

# Directions that light is gathered from at every vertex: over the sphere, and over each lamp's own disc.
AMBIENT_RAYS, LAMP_RAYS = 32, 8
TILE, TILES = 128, 8

VERTEX = """
#version 330
invariant gl_Position;
uniform mat4 clip_from_world;
in vec3 position;
in vec3 normal;
in vec3 tangent;
in vec2 uv;
in vec4 ambient;
in vec4 lit;
out vec3 world;
out vec3 shading_normal;
out vec3 along;
out vec2 texcoord;
out vec4 vertex_ambient;
out vec4 vertex_lit;
void main() {
    gl_Position = clip_from_world * vec4(position, 1.0);
    world = position;
    shading_normal = normal;
    along = tangent;
    texcoord = uv;
    vertex_ambient = ambient;
    vertex_lit = lit;
}
"""

# What is shaded alike, each by a program of its own; cards and strands are cut where their texture is clear.
KINDS = ("SOLID", "CARD", "STRANDS")

FRAGMENT = """
#version 330
#define KIND
const float GRAZING = 0.3;
const float RELIEF = 0.004;
uniform sampler2D albedo;
uniform vec3 wrap;  // how far light creeps past the terminator: in skin, red travels farthest
uniform float roughness;
uniform float specular;
uniform vec3 eye;
uniform sampler2D surroundings;
uniform float finer;  // log2 of how many times finer than 16 x 32 pixels the surroundings are
uniform int lamps;
uniform vec3 directions[MAX_LAMPS];
uniform vec3 colors[MAX_LAMPS];
uniform float spreads[MAX_LAMPS];
uniform float exposure;
uniform float shelter;
uniform float part;
in vec3 world;
in vec3 shading_normal;
in vec3 along;
in vec2 texcoord;
in vec4 vertex_ambient;
in vec4 vertex_lit;
layout(location = 0) out vec4 color;
layout(location = 1) out vec4 surface;  // the normal, 0 to 1 for -1 to 1, and which part it is

// What a rough surface mirrors: the surroundings, blurred the more the rougher it is.
vec3 mirror(vec3 d) {
    vec2 at = vec2(atan(d.y, d.x) / 6.28318531, acos(clamp(d.z, -1.0, 1.0)) / 3.14159265);
    return textureLod(surroundings, at, (4.0 + finer) * sqrt(roughness) - 0.6).rgb;
}

vec3 decode(vec3 c) { return c * (c * (c * 0.305306011 + 0.682171111) + 0.012522878); }

// sRGB, with a shoulder as film has: bright skin keeps its colour where it would clip to yellow or white.
vec3 encode(vec3 c) {
    c = mix(c, 1.0 - 0.4 * exp((0.6 - c) / 0.4), step(0.6, c));
    vec3 curve = 1.055 * pow(max(c, 0.0031308), vec3(1.0 / 2.4)) - 0.055;
    return mix(12.92 * c, curve, step(0.0031308, c));
}

// The highlight of a lamp on a rough surface: GGX, Smith, Schlick, in units of the lamp's Lambert light.
// A wide lamp's is wider.
float highlight(vec3 n, vec3 v, vec3 l, float nl, float nv, float f0, float spread) {
    vec3 h = normalize(l + v);
    float nh = dot(n, h);
    float a = min(roughness * roughness + 0.5 * spread, 1.0);
    float d = nh * nh * (a * a - 1.0) + 1.0;
    float u = 1.0 - max(dot(v, h), 0.0);
    float fresnel = f0 + max(1.0 - roughness - f0, 0.0) * u * u * u * u * u;
    return nl * a * a / (d * d) * 0.5 / mix(2.0 * nl * nv, nl + nv, a) * fresnel;
}

// The share of the sky that a rough surface mirrors: Karis' fit to the split sum, but for its grazing part.
// A sky that nothing hides but the head itself would draw a pale line around it; rooms are not like that.
float mirrored(float nv, float f0) {
    vec4 r = roughness * vec4(-1.0, -0.0275, -0.572, 0.022) + vec4(1.0, 0.0425, 1.04, -0.04);
    float a = min(r.x * r.x, exp2(-9.28 * nv)) * r.x + r.y;
    return f0 * (r.z - 1.04 * a) + GRAZING * (r.w + 1.04 * a);
}

// The highlight along a hair, after Kajiya and Kay.
float strand(vec3 t, vec3 v, vec3 l) {
    float th = dot(t, normalize(l + v));
    float r = roughness * roughness;
    return pow(max(1.0 - th * th, 0.0), 4.0 / (r * r));
}

// The normal of a surface that is a little lower where its texture is darker: pores, creases, folds
// (Mikkelsen, "Bump mapping unparametrized surfaces on the GPU").
vec3 relief(vec3 n, float height) {
    vec3 x = dFdx(world), y = dFdy(world);
    vec3 across = cross(y, n), down = cross(n, x);
    float area = dot(x, across);
    vec3 slope = sign(area) * (dFdx(height) * across + dFdy(height) * down);
    return normalize(abs(area) * n - slope);
}

// The normal of the surface itself, towards the eye; a card's own, for what it is shaded with is bent.
vec3 bare() {
#ifdef SOLID
    vec3 n = shading_normal;
    if (!gl_FrontFacing) n = -n;
#else
    vec3 n = cross(dFdx(world), dFdy(world));
    if (dot(n, eye - world) < 0.0) n = -n;
#endif
    return n / max(length(n), 1e-20);
}

void main() {
    vec4 texel = texture(albedo, texcoord);
    surface = vec4(0.5 + 0.5 * bare(), part);
    vec3 n = normalize(shading_normal);
#ifdef SOLID
    vec3 base = decode(texel.rgb);
    n = relief(n, RELIEF * sqrt(dot(base, vec3(0.33))));
#else
    vec3 base = decode(texel.rgb / max(texel.a, 0.01));
#endif
    if (!gl_FrontFacing) n = -n;
    vec3 v = normalize(eye - world);
    float f0 = 0.08 * specular;
    vec3 light = base * vertex_ambient.rgb;
#ifdef STRANDS
    // Strands lie a little askew, the pale ones the other way than the dark: a highlight of many hairs.
    float pale = dot(base, vec3(0.33));
    vec3 t = normalize(along + n * (0.5 * sqrt(pale) - 0.15) + 1e-6);
    vec3 tint = specular * (vec3(0.15 + pale) + base);  // half mirrored by a hair, half coloured within it
#else
    float nv = max(dot(n, v), 0.1);
    light += mirrored(nv, f0) * vertex_ambient.a * mirror(reflect(-v, n));
#endif
    for (int i = 0; i < lamps; i++) {
        vec3 l = directions[i];
        float nl = dot(n, l);
        vec3 soft = clamp((nl + wrap) / (1.0 + wrap), 0.0, 1.0);
#ifdef STRANDS
        vec3 gloss = tint * strand(t, v, l) * clamp(0.5 + nl, 0.0, 1.0);
#else
        vec3 gloss = nl > 0.0 ? vec3(highlight(n, v, l, nl, nv, f0, spreads[i])) : vec3(0.0);
#endif
        light += colors[i] * vertex_lit[i] * (base * soft + gloss);
    }
    color = vec4(encode(light * shelter * exposure), 1.0);
}
""".replace("MAX_LAMPS", str(MAX_LAMPS))

# What is nearest, seen from a camera, or by each direction that light comes from (one tile of an atlas each).
DEPTH_VERTEX = """
#version 330
invariant gl_Position;
uniform mat4 clip_from_world;
in vec3 position;
in vec2 uv;
out vec2 texcoord;
void main() {
    gl_Position = clip_from_world * vec4(position, 1.0);
    texcoord = uv;
}
"""

_NOTHING = """
#version 330
void main() {}
"""

# Cards are cut where their texture is transparent; for a camera by a threshold that differs among the four
# subsamples of a pixel.
_CUT = """
#version 330
uniform sampler2D albedo;
uniform bool dithered;
in vec2 texcoord;
void main() {
    ivec2 corner = ivec2(gl_FragCoord.xy) & 1;
    float threshold = 0.3 + 0.15 * float(corner.x ^ corner.y) + 0.3 * float(corner.y);
    if (texture(albedo, texcoord).a < (dithered ? threshold : 0.4)) discard;
}
"""

DEPTH_FRAGMENTS = {"SOLID": _NOTHING, "CARD": _CUT, "STRANDS": _CUT}

# Light that reaches a vertex: from the surroundings, and what share of every lamp's disc. A direction that
# is blocked still sends some light, which the blocking skin or hair has bounced.
GATHER = """
#version 330
const float BOUNCE = 0.3;
uniform sampler2D atlas;
uniform mat4 tiles[RAYS];
uniform vec3 rays[RAYS];
uniform vec3 radiance[AMBIENT];
uniform int lamps;
uniform bool strands;
uniform float texel;
in vec3 position;
in vec3 normal;
out vec4 ambient;
out vec4 lit;

float open(int i) {
    vec3 at = (tiles[i] * vec4(position + 1.5 * texel * (normal + rays[i]), 1.0)).xyz * 0.5 + 0.5;
    if (any(greaterThan(abs(at - 0.5), vec3(0.499)))) return 1.0;
    ivec2 corner = SIDE * ivec2(i % ACROSS, i / ACROSS);
    return step(at.z, texelFetch(atlas, corner + ivec2(at.xy * float(SIDE)), 0).r);
}

void main() {
    vec3 sum = vec3(0.0);
    float seen = 0.0, all = 0.0;
    for (int i = 0; i < AMBIENT; i++) {
        float weight = strands ? 1.0 : max(dot(normal, rays[i]), 0.0);
        float clear = open(i);
        sum += weight * mix(BOUNCE, 1.0, clear) * radiance[i];
        seen += weight * clear;
        all += weight;
    }
    ambient = vec4(sum, seen) / max(all, 1e-6);
    lit = vec4(0.0);
    for (int j = 0; j < lamps; j++)
        for (int i = 0; i < EACH; i++)
            lit[j] += open(AMBIENT + EACH * j + i) / float(EACH);
}
"""
for _name, _value in (
    ("RAYS", AMBIENT_RAYS + MAX_LAMPS * LAMP_RAYS),
    ("AMBIENT", AMBIENT_RAYS),
    ("EACH", LAMP_RAYS),
    ("SIDE", TILE),
    ("ACROSS", TILES),
):
    GATHER = GATHER.replace(_name, str(_value))

FULL_SCREEN = """
#version 330
void main() {
    gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}
"""

# Colours are averaged as sRGB, because that is the space in which everybody composites straight alpha.
# 1/z is linear over the image of a plane, so its mean over the four is exactly the depth at the pixel's
# centre; where the four lie on several surfaces the nearest is taken, never a blend of two. So with normals.
BOX = """
#version 330
uniform sampler2D fine_color;
uniform sampler2D fine_depth;
uniform sampler2D fine_surface;
uniform vec2 near_far;
layout(location = 0) out vec4 color;
layout(location = 1) out float depth;
layout(location = 2) out vec4 surface;
void main() {
    ivec2 corner = 2 * ivec2(gl_FragCoord.xy);
    vec3 sum = vec3(0.0), normal = vec3(0.0);
    vec4 nearest = vec4(0.0);
    float covered = 0.0, inverse = 0.0, least = 1e9, most = 0.0;
    for (int i = 0; i < 4; i++) {
        ivec2 at = corner + ivec2(i & 1, i >> 1);
        vec4 c = texelFetch(fine_color, at, 0);
        if (c.a == 0.0) continue;
        float w = texelFetch(fine_depth, at, 0).r;
        float z = near_far.x * near_far.y / (near_far.y - w * (near_far.y - near_far.x));
        sum += c.rgb;
        covered += 1.0;
        inverse += 1.0 / z;
        vec4 s = texelFetch(fine_surface, at, 0);
        normal += s.xyz - 0.5;
        if (z < least) nearest = s;
        least = min(least, z);
        most = max(most, z);
    }
    bool one = covered == 4.0 && most - least < 0.02 * least;
    color = covered > 0.0 ? vec4(sum / covered, covered / 4.0) : vec4(0.0);
    depth = covered == 0.0 ? 0.0 : one ? 4.0 / inverse : least;
    surface = one ? vec4(0.5 + 0.5 * normalize(normal), nearest.a) : nearest;
}
"""
