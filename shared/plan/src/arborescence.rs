//! The minimum spanning arborescence of a directed graph from a root: exact, by the algorithm of Chu-Liu and Edmonds.
//!
//! Only the contraction phase of the algorithm is used. It contracts cycles and subtracts from all edges into a node
//! set the weight of the cheapest of them. The remaining weights determine all minimum arborescences: exactly those
//! that use only edges of remaining weight zero, and that enter each contracted set with a positive subtracted weight
//! exactly once. The flattest of them is found by trying the nodes at which the sets can be entered; a breadth-first
//! search determines the rest.

/// The largest number of combinations of entry nodes to try. Between continents there are at most some hundreds. Beyond
/// this limit the tree is still a cheapest one, but perhaps not the flattest.
const ATTEMPTS: usize = 2000;

/// A directed graph with a root. Nodes are numbers from 0.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: usize,
    root: usize,
    /// The weight of the edge from `u` to `v`, at index `u * nodes + v`. None if there is no such edge.
    weights: Vec<Option<u128>>,
}

/// A description of all cheapest trees of a graph.
pub(super) struct CheapestTrees {
    nodes: usize,
    root: usize,
    /// The weight of each cheapest tree.
    pub(super) weight: u128,
    /// Whether the edge from `u` to `v` can be part of a cheapest tree, at index `u * nodes + v`.
    tight: Vec<bool>,
    /// The node sets that each cheapest tree enters exactly once, larger sets first. Each set is a membership flag per
    /// node.
    sets: Vec<Vec<bool>>,
}

/// A tree as the parent of each node. The root is its own parent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TreeShape {
    /// The number of edges on the longest path from the root.
    pub(super) depth: usize,
    /// The parent of each node.
    pub(super) parents: Vec<usize>,
}

impl Graph {
    /// Creates a graph. `weight` returns the weight of an edge, or None if there is no such edge.
    pub(super) fn new(nodes: usize, root: usize, weight: impl Fn(usize, usize) -> Option<u128>) -> Self {
        let edge = |at: usize| (at / nodes, at % nodes);
        let weights = (0..nodes * nodes).map(edge).map(|(u, v)| if u == v { None } else { weight(u, v) }).collect();
        Self { nodes, root, weights }
    }

    /// Finds all cheapest trees. None if some node cannot be reached from the root.
    pub(super) fn cheapest(&self) -> Option<CheapestTrees> {
        let mut contraction = Contraction::of(self);
        let mut waiting: Vec<usize> = (0..self.nodes).filter(|&node| node != self.root).collect();
        while let Some(part) = waiting.pop() {
            contraction.enter(part)?;
            waiting.extend(contraction.contract_cycle(part));
        }
        Some(contraction.conclude())
    }
}

/// A graph in which cycles are contracted to parts.
struct Contraction<'a> {
    graph: &'a Graph,
    /// The remaining weights of edges, after the subtractions for the parts that contain their end.
    rest: Vec<Option<u128>>,
    /// The part that contains each node.
    part_of: Vec<usize>,
    /// The nodes of each part, including parts that are contracted into larger ones.
    members: Vec<Vec<usize>>,
    /// The node from which each part is entered, once it is chosen.
    entered_from: Vec<Option<usize>>,
    weight: u128,
    sets: Vec<Vec<usize>>,
}

impl<'a> Contraction<'a> {
    fn of(graph: &'a Graph) -> Self {
        Self {
            graph,
            rest: graph.weights.clone(),
            part_of: (0..graph.nodes).collect(),
            members: (0..graph.nodes).map(|node| vec![node]).collect(),
            entered_from: vec![None; graph.nodes],
            weight: 0,
            sets: Vec::new(),
        }
    }

    /// The edges into a part from outside: their index in `rest`, and the node where they begin.
    fn edges_into(&self, part: usize) -> Vec<(usize, usize)> {
        let nodes = self.graph.nodes;
        let outside = |node: &usize| self.part_of[*node] != part;
        let into = |to: usize| (0..nodes).filter(outside).map(move |from| (from * nodes + to, from));
        self.members[part].iter().flat_map(|&to| into(to)).collect()
    }

    /// Enters a part by its cheapest edge, and subtracts the weight of this edge from all edges into the part.
    fn enter(&mut self, part: usize) -> Option<()> {
        let edges = self.edges_into(part);
        let (least, from) = edges.iter().filter_map(|&(at, from)| Some((self.rest[at]?, from))).min()?;
        for (at, _) in edges {
            if let Some(rest) = &mut self.rest[at] {
                *rest -= least;
            }
        }
        self.weight += least;
        if least > 0 && self.members[part].len() > 1 {
            self.sets.push(self.members[part].clone());
        }
        self.entered_from[part] = Some(from);
        Some(())
    }

    /// If entering `part` has closed a cycle, contracts the cycle to a part and returns it.
    fn contract_cycle(&mut self, part: usize) -> Option<usize> {
        let mut cycle = vec![part];
        let mut at = self.part_of[self.entered_from[part]?];
        while at != part {
            cycle.push(at);
            at = self.part_of[self.entered_from[at]?];
        }
        let whole = self.members.len();
        let members: Vec<usize> = cycle.iter().flat_map(|&part| self.members[part].iter().copied()).collect();
        for &node in &members {
            self.part_of[node] = whole;
        }
        self.members.push(members);
        self.entered_from.push(None);
        Some(whole)
    }

    fn conclude(mut self) -> CheapestTrees {
        let nodes = self.graph.nodes;
        for set in &mut self.sets {
            set.sort_unstable();
        }
        self.sets.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        let membership = |set: &Vec<usize>| {
            let mut is_member = vec![false; nodes];
            set.iter().for_each(|&node| is_member[node] = true);
            is_member
        };
        CheapestTrees {
            nodes,
            root: self.graph.root,
            weight: self.weight,
            tight: self.rest.iter().map(|rest| *rest == Some(0)).collect(),
            sets: self.sets.iter().map(membership).collect(),
        }
    }
}

impl CheapestTrees {
    /// The flattest of the cheapest trees. If there are several, the one with the lexicographically smallest parents.
    pub(super) fn flattest(&self) -> Option<TreeShape> {
        let mut search = Search { cheapest: self, attempts: 0, entries: Vec::new(), best: None };
        search.enter_next();
        search.best
    }

    /// The nodes at which a set can be entered from outside.
    fn entries(&self, set: &[bool]) -> Vec<usize> {
        let outside: Vec<usize> = (0..self.nodes).filter(|&node| !set[node]).collect();
        let enters = |to: &usize| set[*to] && outside.iter().any(|from| self.tight[from * self.nodes + to]);
        (0..self.nodes).filter(enters).collect()
    }
}

/// The search over the combinations of entry nodes.
struct Search<'a> {
    cheapest: &'a CheapestTrees,
    attempts: usize,
    /// The chosen entry nodes of the first sets.
    entries: Vec<usize>,
    best: Option<TreeShape>,
}

impl Search<'_> {
    fn enter_next(&mut self) {
        if self.attempts >= ATTEMPTS {
            return;
        }
        let sets = &self.cheapest.sets;
        let Some(set) = sets.get(self.entries.len()) else {
            self.attempts += 1;
            let found = self.breadth_first();
            if let Some(found) = found
                && self.best.as_ref().is_none_or(|best| found < *best)
            {
                self.best = Some(found);
            }
            return;
        };
        // If a larger set that contains this one is already entered at a node of this set, that entry counts. The
        // smallest such set decides.
        let around = (0..self.entries.len()).rev().find(|&other| sets[other].iter().zip(set).all(|(o, s)| *o || !*s));
        let choices = match around.map(|other| self.entries[other]) {
            Some(entry) if set[entry] => vec![entry],
            _ => self.cheapest.entries(set),
        };
        for entry in choices {
            self.entries.push(entry);
            self.enter_next();
            self.entries.pop();
        }
    }

    /// The flattest tree that enters the sets at the chosen nodes. None if it does not reach every node.
    fn breadth_first(&self) -> Option<TreeShape> {
        let CheapestTrees { nodes, root, .. } = *self.cheapest;
        let mut parents: Vec<Option<usize>> = vec![None; nodes];
        parents[root] = Some(root);
        let mut level = vec![root];
        let mut missing = nodes - 1;
        let mut depth = 0;
        while missing > 0 {
            let mut next = Vec::new();
            for (node, parent) in parents.iter_mut().enumerate().filter(|(_, parent)| parent.is_none()) {
                *parent = level.iter().copied().find(|&from| self.allows(from, node));
                if parent.is_some() {
                    next.push(node);
                }
            }
            if next.is_empty() {
                return None;
            }
            missing -= next.len();
            depth += 1;
            level = next;
        }
        Some(TreeShape { depth, parents: parents.into_iter().flatten().collect() })
    }

    fn allows(&self, from: usize, to: usize) -> bool {
        let once = |(set, &entry): (&Vec<bool>, &usize)| set[from] || !set[to] || entry == to;
        self.cheapest.tight[from * self.cheapest.nodes + to] && self.cheapest.sets.iter().zip(&self.entries).all(once)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All trees of a small graph, each with its weight and shape.
    fn all_trees(graph: &Graph) -> Vec<(u128, TreeShape)> {
        let nodes = graph.nodes;
        let mut trees = Vec::new();
        for code in 0..nodes.pow(u32::try_from(nodes).unwrap()) {
            let parents: Vec<usize> =
                (0..nodes).map(|node| code / nodes.pow(u32::try_from(node).unwrap()) % nodes).collect();
            if parents[graph.root] != graph.root {
                continue;
            }
            let depth_of = |node: usize| {
                std::iter::successors(Some(node), |at| Some(parents[*at])).take(nodes).position(|at| at == graph.root)
            };
            let Some(depths) = (0..nodes).map(depth_of).collect::<Option<Vec<usize>>>() else { continue };
            let depth = depths.into_iter().max().unwrap();
            let edges = (0..nodes).filter(|&node| node != graph.root);
            let weights: Option<Vec<u128>> = edges.map(|node| graph.weights[parents[node] * nodes + node]).collect();
            let Some(weights) = weights else { continue };
            trees.push((weights.iter().sum(), TreeShape { depth, parents }));
        }
        trees
    }

    fn graphs() -> impl Strategy<Value = Graph> {
        (2..=5_usize).prop_flat_map(|nodes| {
            let weight = prop_oneof![1 => Just(None), 6 => (0..6_u128).prop_map(Some)];
            let weights = prop::collection::vec(weight, nodes * nodes);
            (Just(nodes), 0..nodes, weights)
                .prop_map(|(nodes, root, weights)| Graph::new(nodes, root, |u, v| weights[u * nodes + v]))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn tree_is_cheapest_then_flattest(graph in graphs()) {
            let best = all_trees(&graph).into_iter().min();
            let found = graph.cheapest().map(|cheapest| (cheapest.weight, cheapest.flattest().unwrap()));
            prop_assert_eq!(
                found.as_ref().map(|(weight, flat)| (*weight, flat.depth)),
                best.as_ref().map(|(weight, flat)| (*weight, flat.depth))
            );
            if let Some(found) = found {
                prop_assert!(all_trees(&graph).contains(&found));
            }
        }
    }

    #[test]
    fn cycle_is_entered_at_cheapest_edge() {
        // The root is 2. The edges between 0 and 1 weigh 1; the edges from the root to them weigh 10 and 9.
        let weights = [[None, Some(1), None], [Some(1), None, None], [Some(10), Some(9), None]];
        let graph = Graph::new(3, 2, |u, v| weights[u][v]);
        let cheapest = graph.cheapest().unwrap();
        assert_eq!((cheapest.weight, cheapest.flattest().unwrap().parents), (10, vec![1, 2, 2]));
        assert!(Graph::new(3, 0, |u, v| weights[u][v]).cheapest().is_none());
    }
}
