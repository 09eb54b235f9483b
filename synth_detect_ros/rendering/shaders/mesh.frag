#version 330 core
// Phong 1975, "Illumination for computer generated pictures": ambient + diffuse + specular of one
// distant light, per pixel, in grey values as cameras deliver them.

struct Material {
#ifdef HAS_BASE_COLOR_TEX
    sampler2D base_color_texture;
#endif
    float reserved;
};

uniform Material material;
uniform vec4 phong;            // ambient, diffuse, specular, shininess
uniform vec3 light_direction;  // unit, towards the light, camera frame
uniform vec3 light_colour;

centroid in vec3 frag_position;
centroid in vec3 frag_normal;
centroid in vec2 frag_uv;
centroid in vec3 frag_colour;

out vec4 frag_out;

void main()
{
    vec3 albedo = frag_colour;
#ifdef HAS_BASE_COLOR_TEX
    albedo *= texture(material.base_color_texture, frag_uv).rgb;
#endif
    // Scans and thin CAD shells are seen from both sides.
    vec3 n = normalize(frag_normal);
    n = faceforward(n, frag_position, n);
    float facing = dot(n, light_direction);
    vec3 mirror = 2.0 * facing * n - light_direction;
    float mirrored = max(-dot(mirror, normalize(frag_position)), 0.0);
    float highlight = facing > 0.0 ? phong.z * pow(mirrored, phong.w) : 0.0;
    vec3 colour = albedo * (phong.x + phong.y * max(facing, 0.0)) + highlight;
    frag_out = vec4(clamp(colour * light_colour, 0.0, 1.0), 1.0);
}
