// One invocation an element; the grid is two-dimensional where one dimension is too short.
fn element(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return id.x + id.y * groups.x * 64u;
}
