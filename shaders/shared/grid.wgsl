// The number of this workgroup in a launch that was folded into x and y. May be past the last one.
fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.x + group.y * groups.x;
}
