/* Preact (MIT), d3-array, d3-scale, d3-shape and what they need (ISC) are included. Sources: minifa/explorer/web */
var y,Te,gt,E,ae,te,Pe,Z,Me,le,ie,Ee,X=Symbol.for("pv"),re={},ne=[],bt=/^m(i|n|o|s|text|space)$/,ce=Array.isArray,$e=ne.slice,L=Object.assign;function H(t){t&&t.parentNode&&t.remove()}function Y(t,e,r,n,a){var o={type:t,props:e,key:r,ref:n,__k:null,__:null,__b:0,__e:null,__c:null,constructor:X,__v:a||++Te,__i:-1,__u:0};return!a&&y.vnode&&y.vnode(o),o}function R(t){return t.children}function Q(t,e){this.props=t,this.context=e,this.__g=0}function $(t,e){if(e==null)return t.__&&$(t.__,t.__i+1);for(var r;e<t.__k.length;e++)if((r=t.__k[e])&&r.__e)return r.__e;return typeof t.type!="function"||t.props.__P?null:$(t)}function xt(t){var e,r=t.__v,n=r.__e,a=[],o=[],s=t.__P;s&&((e=L({constructor:X},r)).__v=r.__v+1,y.vnode&&y.vnode(e),ue(s,e,r,t.__n,s.namespaceURI,32&r.__u?[n]:null,a,n||$(r),32&r.__u,o),e.__v=r.__v,e.__.__k[e.__i]=e,Ie(a,e,o),r.__=r.__e=null,e.__e!=n&&Re(e))}function Re(t){if((t=t.__)&&t.__c&&!t.props.__P)return t.__e=null,t.__k.some(function(e){return e&&(t.__e=e.__e)}),Re(t)}function se(t){(8&t.__g||(t.__g|=8,E.push(t),te++))&&ae==y.debounceRendering||((ae=y.debounceRendering)||queueMicrotask)(Ne)}function Ne(){try{for(var t,e=1;E.length;)E.length>e&&E.sort(Pe),t=E.shift(),e=E.length,8&t.__g&&xt(t)}finally{(te=E.length)&&(ae||queueMicrotask)(Ne)}}function He(t,e,r,n,a,o,s,l,p,d,c){var v,m,i,f,g,_,b=n.__k||ne,h=e.length;for(p=vt(r,e,b,p,h),v=0;v<h;v++)(i=r.__k[v])!=null&&(m=~i.__i&&b[i.__i]||re,i.__i=v,_=ue(t,i,m,a,o,s,l,p,d,c),f=i.__e,(m.ref!=i.ref||8&m.__u)&&(m.ref&&pe(m.ref,null,i,m),i.ref&&c.push(i.ref,i.__c||f,i)),g=g||f,4&i.__u?(p=Le(i,p,t,!m.__v),m.__e&&(m.__e=null)):typeof i.type=="function"&&_!==void 0?p=_:f&&(p=f.nextSibling),i.__u&=-21);return r.__e=g,p}function vt(t,e,r,n,a){var o,s,l,p,d,c,v,m,i,f=r.length,g=f,_=0,b=0,h=t.__k=Array(a);for(o=0;o<a;o++)(s=e[o])!=null&&typeof s!="boolean"&&typeof s!="function"?(typeof s!="object"||s.constructor===String?s=h[o]=Y(null,s):ce(s)?s=h[o]=Y(R,{children:s}):s.constructor===X&&s.__b?s=h[o]=Y(s.type,s.props,s.key,s.ref,s.__v):h[o]=s,p=o+_,s.__=t,s.__b=t.__b+1,l=null,~(d=s.__i=yt(s,r,p,g))&&(g--,(l=r[d])&&(l.__u|=2)),l&&l.__v?(s.__u|=16,d==p-1?_--:d==p+1?_++:d!=p&&(d>p?_--:_++,b=1)):(~d||(a>f?_--:a<f&&_++),typeof s.type!="function"&&(s.__u|=4))):h[o]=null;if(b){for(c=[],v=[],o=0;o<a;o++)if((s=h[o])&&16&s.__u){for(_=0,m=c.length;_<m;)c[i=_+m>>1]<s.__i?_=i+1:m=i;c[_]=s.__i,v[o]=_+1}for(_=c.length;o--;)v[o]&&(v[o]==_?_--:h[o].__u|=4)}if(g)for(o=0;o<f;o++)!(l=r[o])||2&l.__u||(l.__e==n&&(n=$(l)),de(l,l));return n}function Le(t,e,r,n){var a,o,s,l;if(typeof t.type=="function"){if(t.props.__P)return e;if(a=t.__k)for(o=0;o<a.length;o++)a[o]&&(a[o].__=t,e=Le(a[o],e,r,!1));return e}for(e&&!e.parentNode&&(e=$(t))&&!e.parentNode&&(e=null),s=t.__e,l=e;l&&l.nodeType==8;)l=l.nextSibling;for(s!=l&&(!n&&r.moveBefore&&s.parentNode?r.moveBefore(s,e):r.insertBefore(s,e||null)),e=s;(e=e&&e.nextSibling)&&e.nodeType==8&&!e.data.startsWith("$s"););return e}function yt(t,e,r,n){var a,o=t.key,s=t.type,l=e[r],p=l&&!(2&l.__u);if(l===null&&o==null||p&&o==l.key&&s==l.type)return r;if(n>(p?1:0)){for(a=r-1;a>=0;a--)if((l=e[a])&&!(2&l.__u)&&o==l.key&&s==l.type)return a;for(a=r+1;a<e.length;a++)if((l=e[a])&&!(2&l.__u)&&o==l.key&&s==l.type)return a}return-1}function Ae(t,e,r){r==null&&(r=""),e[0]=="-"?t.setProperty(e,r):t[e]=r}function G(t,e,r,n,a){var o,s;if(e=="style")if(typeof r=="string")t.style.cssText=r;else{if(typeof n=="string"&&(t.style.cssText=n=""),n)for(e in n)r&&e in r||Ae(t.style,e);if(r)for(e in r)n&&r[e]==n[e]||Ae(t.style,e,r[e])}else if(e[0]=="o"&&e[1]=="n")typeof r!="function"&&(r=null),typeof n!="function"&&(n=null),(t.__e||(t.__e={}))[e]=r,r&&n||(s=ie[e]||(ie[e]=wt(e)),(t.__a||(t.__a={}))[e]=le,o=e!=(e=e.replace(Me,"$1")),(e=e.slice(2))[0]<"a"&&(e=e.toLowerCase()),r?t.addEventListener(e,s,o):t.removeEventListener(e,s,o));else{if(a=="http://www.w3.org/2000/svg")e=e.replace(/xlink(H|:h)/,"h").replace(/sName$/,"s");else if(e!="width"&&e!="height"&&e!="href"&&e!="list"&&e!="form"&&e!="tabIndex"&&e!="download"&&e!="rowSpan"&&e!="colSpan"&&e!="role"&&e!="popover"&&e in t)try{return void(t[e]=r??"")}catch{}if(typeof r=="function")return;r==null||r===!1&&e[4]!="-"?t.removeAttribute(e):t.setAttribute(e,e=="popover"&&r==1?"":r)}}function wt(t){return function(e){var r=this.__e;if(r){if(r=r[t],e[Z]==null)e[Z]=le++;else if(e[Z]<this.__a[t])return;return r(y.event?y.event(e):e)}}}function ue(t,e,r,n,a,o,s,l,p,d){var c,v,m,i,f,g,_,b,h,w,x,I,U,O,M,K,P,T,k=e.type;if(e.constructor!==X)return null;128&r.__u&&(p=32&r.__u,c=r.__c.__z)&&(e.__u|=p,v=o=[],c.nodeType==8?l=ee(c,o):o.push(c),l=o[0]||l),(c=y.__b)&&c(e);e:if(typeof k=="function"){m=s.length;try{if(b=e.props,h=(c=k.prototype)&&c.render,w=(c=k.contextType)&&n[c.__c],x=c?w?w.props.value:c.__:n,(i=r.__c)?(e.__c=i,2&i.__g&&(i.__g|=1)):(h?e.__c=i=new k(b,x):(e.__c=i=new Q(b,x),i.constructor=k,i.render=Ct),w&&w.sub(i),i.state||(i.state={}),i.__n=n,i.__g|=8,i.__h=[],i.__k=[]),h&&(i.__s||(i.__s=i.state),k.getDerivedStateFromProps&&(i.__s==i.state&&(i.__s=L({},i.__s)),L(i.__s,k.getDerivedStateFromProps(b,i.__s)))),f=i.props,g=i.state,i.__v=e,r.__c){if(b!==f&&h&&!k.getDerivedStateFromProps&&i.componentWillReceiveProps&&i.componentWillReceiveProps(b,x),e.__v==r.__v&&!(8&i.__g)||!(4&i.__g)&&i.shouldComponentUpdate&&i.shouldComponentUpdate(b,i.__s,x)===!1){e.__v!=r.__v&&(i.props=b,i.state=i.__s,i.__g&=-9),e.__e=r.__e,e.__k=r.__k,e.__k.some(function(S){S&&(S.__=e)}),ne.push.apply(i.__h,i.__k),i.__k=[],i.__h.length&&s.push(i),l=$(r);break e}i.componentWillUpdate&&i.componentWillUpdate(b,i.__s,x),h&&i.componentDidUpdate&&i.__h.push(function(){i.componentDidUpdate(f,g,_)})}else h&&!k.getDerivedStateFromProps&&i.componentWillMount&&i.componentWillMount(),h&&i.componentDidMount&&i.__h.push(i.componentDidMount);i.context=x,i.props=b,i.__P=t,i.__g&=-5,I=y.__r,U=h?25:0;do i.__g&=-9,I&&I(e),c=i.render(i.props,i.state=i.__s,i.context);while(8&i.__g&&++U<25);h&&(ne.push.apply(i.__h,i.__k),i.__k=[]),i.state=i.__s,i.getChildContext&&(n=L({},n,i.getChildContext())),h&&r.__c&&i.getSnapshotBeforeUpdate&&(_=i.getSnapshotBeforeUpdate(f,g)),O=c&&c.type===R&&c.key==null?c.props.children:c,b.__P&&(c=l,a=(t=b.__P).namespaceURI,p=o=null,r.props&&r.props.__P!=t&&(r.__k.some(function(S){S&&de(S,S)}),r.__k=null),l=r.__k?$(r,0):null),l=He(t,ce(O)?O:[O],e,r,n,a,o,s,l,p,d),b.__P&&(e.__e=null,l=c),e.__u&=-161,v&&v.some(H),i.__h.length&&s.push(i),1&i.__g&&(i.__g&=-4)}catch(S){if(s.length=m,e.__v=null,p||o)if(S&&S.then){if(e.__u|=128|p,o){for(~(P=o.indexOf(l||void 0))||(P=o.length);(T=o[P-1])&&T.nodeType==8;)P--;for(;P<o.length;P++)if(T=o[P])if(o[P]=null,M){if(T==K)break}else{if(T.nodeType!=8)break;T.data.startsWith("$s")&&(K=ee(M=T))}}if(!M){for(;l&&l.nodeType==8&&l.nextSibling;)l=l.nextSibling;M=l}(c=ee(M=e.__c.__z||(e.__c.__z=M)))?(e.__e=M,l=c):e.__e=l,l=l&&l.nextSibling}else o&&o.some(H);else e.__e=r.__e;e.__k||(e.__k=r.__k||[]),S&&S.then||ze(e),y.__e(S,e,r)}}else l=e.__e=kt(r.__e,e,r,n,a,o,s,p,d,t);return(c=y.diffed)&&c(e),l}function ee(t,e){if(t&&t.nodeType==8&&t.data.startsWith("$s"))for(var r=1;t=t.nextSibling;){if(t.nodeType==8){if(t.data.startsWith("$s"))r++;else if(t.data.startsWith("/$s")&&!--r)return t}e&&e.push(t)}}function ze(t){t&&(t.__c&&(t.__c.__g|=4),t.__k&&t.__k.some(ze))}function Ie(t,e,r){for(var n=0;n<r.length;)pe(r[n++],r[n++],r[n++]);y.__c&&y.__c(e,t),t.some(function(a){try{t=a.__h,a.__h=[],t.some(function(o){o.call(a)})}catch(o){y.__e(o,a.__v)}})}function kt(t,e,r,n,a,o,s,l,p,d){var c,v,m,i,f,g,_,b,h=r.props||re,w=e.props,x=e.type;if(x=="svg"?a="http://www.w3.org/2000/svg":x=="math"?a="http://www.w3.org/1998/Math/MathML":a||(a="http://www.w3.org/1999/xhtml"),o){for(c=0;c<o.length;c++)if((f=o[c])&&(x?f.localName==x:f.nodeType==3)){t=f,o[c]=null;break}}if(!t){if(b=d.ownerDocument||document,!x)return b.createTextNode(w);t=b.createElementNS(a,x,w.is?w:d),l&&(y.__m&&y.__m(e,o),l=!1),o=null}if(x){if(d=x=="template"&&t.content||t,o=x=="textarea"&&w.defaultValue!=null?null:o&&$e.call(d.childNodes),!l&&o)for(h={},c=0;c<t.attributes.length;c++)h[(f=t.attributes[c]).name]=f.value;for(c in h)f=h[c],c=="dangerouslySetInnerHTML"?m=f:c=="children"||c in w||c=="value"&&"defaultValue"in w||c=="checked"&&"defaultChecked"in w||G(t,c,null,f,a);for(c in w)f=w[c],c=="children"?i=f:c=="dangerouslySetInnerHTML"?v=f:c=="value"?g=f:c=="checked"?_=f:l&&typeof f!="function"||h[c]===f||G(t,c,f,h[c],a);v?(l||m&&(v.__html==m.__html||v.__html==t.innerHTML)||(t.innerHTML=v.__html),e.__k=[]):(m&&(t.textContent=""),(x=="foreignObject"||a=="http://www.w3.org/1998/Math/MathML"&&bt.test(x))&&(a="http://www.w3.org/1999/xhtml"),He(d,ce(i)?i:[i],e,r,n,a,o,s,o?o[0]:r.__k&&$(r,0),l,p),o&&o.some(H)),l&&x!="textarea"||(c="value",x=="progress"&&g==null?t.removeAttribute(c):g==null||g===t[c]&&(x!="progress"||g)||G(t,c,g,h[c],a),c="checked",_!=null&&_!=t[c]&&G(t,c,_,h[c],a))}else h===w||l&&t.data==w||(t.data=w);return t}function pe(t,e,r,n){try{typeof t=="function"?e?e.__x=t(e)||1:n&&(n=n.__c||n.__e)&&(e=n.__x)&&(n.__x=null,typeof e=="function"?e():t(null)):t.current=e}catch(a){y.__e(a,r)}}function de(t,e,r){var n,a,o,s;if(y.unmount&&y.unmount(t),!(n=t.ref)||n.current&&n.current!=t.__e||pe(n,null,e,t),n=t.__c){if(n.componentWillUnmount)try{n.componentWillUnmount()}catch(l){y.__e(l,e)}n.__P=n.__n=null}if(n=t.__k)for(s=0;s<n.length;s++)n[s]&&de(n[s],e,typeof t.type!="function"||r&&!t.props.__P);!r&&(n=t.__c)&&(n=n.__z)&&(a=ee(n,o=[]))&&(n==t.__e&&o.some(H),H(a),H(n)),r||H(t.__e),t.__e=t.__c=t.__=null}function Ct(t,e,r){return this.constructor(t,r)}function Oe(t,e){var r,n,a,o;y.__&&y.__(t,e),e.nodeType==9&&(e=e.documentElement),n=(r=t&&32&t.__u)?null:e.__k,e.__k=Y(R,{children:[t]}),a=[],o=[],ue(e,e.__k,n||re,re,e.namespaceURI,n?null:e.firstChild?$e.call(e.childNodes):null,a,n?n.__e:e.firstChild,r,o),Ie(a,e.__k,o),e.__k.props.children=null}function Fe(t){function e(r){var n,a;return this.getChildContext||(n=new Set,(a={})[e.__c]=this,this.getChildContext=function(){return a},this.shouldComponentUpdate=function(o){this.props.value!=o.value&&n.forEach(function(s){s.__g|=4,se(s)})},this.sub=function(o){n.add(o);var s=o.componentWillUnmount;o.componentWillUnmount=function(){n.delete(o),s&&s.call(o)}}),r.children}return e.__c="__cC"+Ee++,e.__=t,e.Provider=(e.Consumer=function(r,n){return r.children(n)}).contextType=e,e}y={__e:function(t,e,r,n){for(var a,o,s;e=e.__;)if((a=e.__c)&&!(1&a.__g)){a.__g|=4;try{if((s=(o=a.constructor)&&o.getDerivedStateFromError)&&a.setState(o.getDerivedStateFromError(t)),a.componentDidCatch&&(a.componentDidCatch(t,n||{}),s=1),s&&8&a.__g)return void(a.__g|=2)}catch(l){t=l}}throw te=0,t}},Te=0,gt=function(t){return t!=null&&t.constructor===X},Q.prototype.setState=function(t,e){var r=this.__s;r&&r!=this.state||(r=this.__s=L({},this.state)),typeof t=="function"&&(t=t(L({},r),this.props)),t&&(L(r,t),this.__v&&(e&&this.__k.push(e),se(this)))},Q.prototype.forceUpdate=function(t){this.__v&&(this.__g|=4,t&&this.__h.push(t),se(this))},Q.prototype.render=R,E=[],te=0,Pe=function(t,e){return t.__v.__b-e.__v.__b},Z=Symbol(),Me=/(PointerCapture)$|Capture$/i,le=0,ie={},Ee=0;var B,A,fe,De,_e=Object.is,J=0,Ke=[],he=[],C=y,We=C.__b,Ue=C.__r,Xe=C.diffed,je=C.__c,Be=C.unmount,Je=C.__;function ge(t,e){C.__h&&C.__h(A,t,J||e),J=0;var r=A.__H||(A.__H={__:[],__h:[]});return t>=r.__.length&&r.__.push({}),r.__[t]}function N(t){return J=1,St(Ze,t)}function St(t,e,r){var n=ge(B++,2);if(n.t=t,!n.__c&&(n.__=[r?r(e):Ze(void 0,e),function(o){var s=(n.__N||n.__)[0],l=n.t(s,o);_e(s,l)||(n.__N=[l,n.__[1]],n.__c.setState({}))}],n.__c=A,!A.__f)){A.__f=!0;var a=A.shouldComponentUpdate;A.shouldComponentUpdate=function(o,s,l){var p=this.__H;if(!p)return!0;var d=!1,c=this.props!=o;if(p.__.some(function(m){m.__N&&(d=!0,_e(m.__[0],m.__N[0])||(c=!0))}),a){var v=a.call(this,o,s,l);return d?v||c:v}return!d||c}}return n.__}function F(t,e){var r=ge(B++,3);!C.__s&&Ge(r.__H,e)&&(r.__P=!0,r.__=t,r.u=e,A.__H.__h.push(r))}function D(t){return J=5,q(function(){return{current:t}},[])}function q(t,e){var r=ge(B++,7);return Ge(r.__H,e)&&(r.__=t(),r.__H=e),r.__}function be(t,e){return J=8,q(function(){return t},e)}function At(){var t;do{for(;t=he.shift();)try{j(t)}catch(r){C.__e(r,{__:(t=t.__P)&&t.__v})}for(;t=Ke.shift();){var e=t.__H;if(t.__P&&e)try{e.__h.some(j),e.__h.some(me),e.__h=[]}catch(r){e.__h=[],C.__e(r,t.__v)}}}while(he.length)}C.__b=function(t){A=null,We&&We(t)},C.__=function(t,e){t&&e.__k&&e.__k.__m&&(t.__m=e.__k.__m),Je&&Je(t,e)},C.__r=function(t){Ue&&Ue(t),B=0;var e=(A=t.__c).__H;e&&(fe==A?A.__h=[]:(e.__h.some(j),e.__h.some(me),B=0),e.__h=[],e.__.some(function(r){r.__N&&(r.__=r.__N),r.u=r.__N=void 0})),fe=A},C.diffed=function(t){Xe&&Xe(t);var e=t.__c;e&&e.__H&&(e.__H.__h.length&&Ve(Ke.push(e)),e.__H.__.some(function(r){r.u&&(r.__H=r.u)})),fe=A=null},C.__c=function(t,e){e.some(function(r){try{r.__h.some(j),r.__h=r.__h.filter(function(n){return!n.__||me(n)})}catch(n){r.__h=[function(){throw n}]}}),je&&je(t,e)},C.unmount=function(t){Be&&Be(t);var e,r,n=t.__c;n&&n.__H&&(n.__H.__.some(function(a){try{if(a.__P&&a.__c){if(r===void 0){for(r=t.__;r&&(!r.__c||!r.__c.__P);)r=r.__;r=r&&r.__c}a.__P=r,Ve(he.push(a))}else j(a)}catch(o){e=o}}),n.__H=void 0,e&&C.__e(e,n.__v))};var qe=typeof requestAnimationFrame=="function";function Tt(t){var e,r=function(){clearTimeout(n),qe&&cancelAnimationFrame(e),setTimeout(t)},n=setTimeout(r,35);qe&&(e=requestAnimationFrame(r))}function Ve(t){t!=1&&De==C.requestAnimationFrame||((De=C.requestAnimationFrame)||Tt)(At)}function j(t){var e=A,r=t.__c;typeof r=="function"&&(t.__c=void 0,r()),A=e}function me(t){var e=A;t.__c=t.__(),A=e}function Ge(t,e){return!t||t.length!=e.length||e.some(function(r,n){return!_e(r,t[n])})}function Ze(t,e){return typeof e=="function"?e(t):e}function Ye(t){let e;try{e=t.replace(/^#/,"").split("/").map(decodeURIComponent)}catch{return{chapter:0,parts:[]}}let[r,...n]=e;if(r==="step")return{chapter:2,parts:n};if(r==="training")return{chapter:3,parts:n};let a=/^chapter-(\d)$/.exec(r)?.[1];return a!==void 0&&Number(a)<6?{chapter:Number(a),parts:n}:{chapter:0,parts:[]}}var Pt=Symbol.for("pv"),Mt=0;function u(t,e,r,n,a,o){e||(e={});var s,l,p=e;if("ref"in p&&typeof t!="function")for(l in p={},e)l=="ref"?s=e[l]:p[l]=e[l];var d={type:t,props:p,key:r,ref:s,__k:null,__:null,__b:0,__e:null,__c:null,constructor:Pt,__v:--Mt,__i:-1,__u:0};return(a||o)&&(d.__source=a,d.__self=o),y.vnode&&y.vnode(d),d}function Qe(t){return u("p",{children:"Chapter 4."})}function et(t){return u("p",{children:"Chapter 0."})}function tt(t){return u("p",{children:"Chapter 5."})}function rt(t){return u("p",{children:"Chapter 2."})}function nt(t){return u("p",{children:"Chapter 1."})}function ot(t){return u("p",{children:"Chapter 3."})}var xe=Fe(null);var Et={first:"M4 4h2.4v12H4zM17 4v12L7.5 10z",back:"M14.5 3.5v13L5 10z",play:"M6 3.5v13L16.5 10z",pause:"M5 4h3.5v12H5zM11.5 4H15v12h-3.5z",next:"M5.5 3.5v13L15 10z",last:"M13.6 4H16v12h-2.4zM3 4v12l9.5-6z",close:"M4 5.5 5.5 4 10 8.5 14.5 4 16 5.5 11.5 10 16 14.5 14.5 16 10 11.5 5.5 16 4 14.5 8.5 10z",restart:"M10 3.5a6.5 6.5 0 1 1-6.2 4.6l1.9.6A4.5 4.5 0 1 0 10 5.5V9L5.2 4.9 10 1z"};function at({icon:t,label:e,onClick:r,disabled:n,main:a}){return u("button",{class:a?"icon play":"icon","aria-label":e,title:e,disabled:n,onClick:r,children:u("svg",{viewBox:"0 0 20 20","aria-hidden":"true",children:u("path",{d:Et[t]})})})}var ve=(t,e,r)=>Math.min(r,Math.max(e,t));var z=t=>t.replaceAll("-","\u2212"),ye=t=>t.join(" \xD7 ");function it(t,e){let r=String(t);for(let n=1;e&&Number.isFinite(t)&&n<=9&&(r=String(Number(t.toPrecision(n))),Math.fround(Number(r))!==t);n++);return z(r)}function we(t,e=Math.abs(t)){if(!Number.isFinite(t)||Number.isInteger(t)&&e<1e3)return z(String(t));if(e<.01&&Math.abs(t)>=1e-4)return z(t.toPrecision(2));if(e<.01||e>=1e3)return t===0?"0":z(t.toExponential(1));let r=t.toFixed(e<10?3:e<100?2:1);return Number(r)===0?r.replace("-",""):z(r)}var st={light:["#08386b","#2f80bd","#a9cfe8","#ffffff","#f5c396","#cf6a1c","#6b2c05"],dark:["#bfe6ff","#4fa8e0","#1f4f75","#1b1f26","#80441b","#f08a45","#ffdcb8"]},lt={light:["#ffffff","#1c222b"],dark:["#1b1f26","#f4f2ee"]},ct=256;function oe(t){let e=t.map(r=>[1,3,5].map(n=>parseInt(r.slice(n,n+2),16)));return Array.from({length:ct+1},(r,n)=>{let a=n/ct*(e.length-1),o=Math.min(Math.floor(a),e.length-2),s=e[o].map((c,v)=>Math.round(c+(e[o+1][v]-c)*(a-o))),[l,p,d]=s.map(c=>(c/255)**2.2);return{rgb:s,ink:.2126*l+.7152*p+.0722*d>.18?"#000000":"#ffffff"}})}var br={light:oe(st.light),dark:oe(st.dark)},xr={light:oe(lt.light),dark:oe(lt.dark)};function ut(t,{kernel:e=!1,transposed:r=!1,example:n=null}={}){let a=t.reduce((g,_)=>g*_,1),o=g=>{let _=[];for(let b=t.length-1;b>=0;b--)_.unshift(g%t[b]),g=Math.floor(g/t[b]);return`[${_.join(", ")}]`};if(t.length!==4){let g=t.length?t[t.length-1]:1,_=g?a/g:0;return{rows:r?g:_,columns:r?_:g,indexAt:r?(b,h)=>h*g+b:(b,h)=>b*g+h,label:o,tiled:!1,plain:t.length<=2}}let[s,l,p,d]=t,c=!e&&d===1&&n===null,[v,m,i,f]=[s,d,l,p];return e?[v,m,i,f]=r?[d,p,s,l]:[p,d,s,l]:n!==null?v=1:c&&([v,m]=[1,s]),{rows:v*(i+1)-1,columns:m*(f+1)-1,indexAt:(g,_)=>{let[b,h]=[Math.floor(g/(i+1)),g%(i+1)],[w,x]=[Math.floor(_/(f+1)),_%(f+1)];return h===i||x===f?-1:e&&r?(((s-1-h)*l+(l-1-x))*p+w)*d+b:e?((h*l+x)*p+b)*d+w:(((n??(c?w:b))*l+h)*p+x)*d+(c?0:w)},label:o,tiled:!0,plain:!1}}var kr=new DOMParser;function pt(t){let[e,r]=[1/0,-1/0];for(let n=0;n<t.values.length;n++)e=Math.min(e,t.values[n]),r=Math.max(r,t.values[n]);return t.values.length?`${we(e,t.largest)} to ${we(r,t.largest)}`:"nothing to nothing"}var $t=2e4;function dt({array:t}){let{shape:e,values:r}=t,n=e.length?e[e.length-1]:1,a=e.length>1?e[e.length-2]:1,o=Math.max(1,a*n),[s,l]=N(0),p=Math.ceil(r.length/o),d=Math.min(a,Math.floor($t/Math.max(1,n))),c=ut(e),v=m=>c.label(m*o).slice(1,-1).split(", ").slice(0,-2).join(", ");return u("div",{children:[p>1&&u("label",{children:["Index "," ",u("input",{type:"number",min:0,max:p-1,value:s,onInput:m=>l(ve(Math.round(Number(m.currentTarget.value))||0,0,p-1))})," "," of ",p,": [",v(s),", :, :]"]}),u("div",{class:"scroll",tabIndex:0,role:"group","aria-label":"Table of values",children:u("table",{children:[u("thead",{children:u("tr",{children:[u("td",{}),Array.from({length:n},(m,i)=>u("th",{scope:"col",children:i}))]})}),u("tbody",{children:Array.from({length:d},(m,i)=>u("tr",{children:[u("th",{scope:"row",children:i}),Array.from({length:n},(f,g)=>u("td",{children:it(r[s*o+i*n+g],t.single)}))]}))})]})}),d<a&&u("p",{class:"note",children:`The first ${d} of ${a} rows.`})]})}var Rt=t=>Object.keys(t.runs).length>0,V=[{title:"Learning through the wrong weights",short:"Two networks",View:et},{title:"Every weight needs a twin",short:"The twin",View:nt},{title:"One step, number by number",short:"One step",View:rt},{title:"Why it works",short:"Why",View:ot,needs:Rt},{title:"Where it fails",short:"Where it fails",View:Qe,needs:t=>!!t.grid},{title:"Playground",short:"Playground",View:tt}];function Nt(t,e){let[r,n]=N(t?e:location.hash.slice(1)||e);F(()=>{if(t)return;let o=()=>n(location.hash.slice(1));return addEventListener("hashchange",o),addEventListener("popstate",o),()=>{removeEventListener("hashchange",o),removeEventListener("popstate",o)}},[t]);let a=be((o,s=!1)=>{!t&&`#${o}`!==location.hash&&history[s?"replaceState":"pushState"](null,"",`#${o}`),n(o)},[t]);return[r,a]}function Ht(){let t=matchMedia("(prefers-color-scheme: dark)"),[e,r]=N(void 0),[n,a]=N(t.matches?"dark":"light");F(()=>{let s=()=>a(t.matches?"dark":"light");return t.addEventListener("change",s),()=>t.removeEventListener("change",s)},[]);let o=e??n;return[o,e,()=>r(o==="dark"?"light":"dark")]}var Lt=500;function ft({content:t,source:e,live:r,only:n,inside:a=!1}){let o=V.map((k,S)=>S).filter(k=>(n?n.includes(k):!0)&&(V[k].needs?.(t)??!0)),[s,l]=Nt(a,`chapter-${o[0]}`),[p,d,c]=Ht(),[v,m]=N(""),[i,f]=N(null),g=D(0),_=D(null),b=D(null),{chapter:h,parts:w}=Ye(s),x=o.includes(h)?h:o[0],I=D(x),U=be(k=>{clearTimeout(g.current),g.current=window.setTimeout(()=>m(k),Lt)},[]),O=q(()=>({content:t,source:e,live:r,theme:p,say:U,showTable:f,go:l,address:s}),[t,e,r,p,U,l,s]);F(()=>{i&&_.current?.showModal()},[i]),F(()=>{I.current!==x&&!a&&(b.current?.focus({preventScroll:!0}),scrollTo({top:0})),I.current=x},[x]);let{title:M,View:K}=V[x],P=o.indexOf(x),T=o[P+1];return u(xe.Provider,{value:O,children:u("div",{class:"mf","data-theme":d,children:[u("header",{children:u("div",{class:"wide head",children:[u("p",{class:"brand",children:"minifa explorer"}),o.length>1&&u("nav",{"aria-label":"Chapters",children:o.map(k=>u("a",{href:`#chapter-${k}`,"aria-current":k===x?"page":void 0,onClick:S=>{S.ctrlKey||S.metaKey||S.shiftKey||(S.preventDefault(),l(`chapter-${k}`))},children:V[k].short},k))}),u("button",{class:"theme",onClick:c,"aria-label":"Switch between light and dark mode",title:"Light or dark mode",children:u("svg",{viewBox:"0 0 20 20",width:"20",height:"20","aria-hidden":"true",children:[u("circle",{cx:"10",cy:"10",r:"7.5",fill:"none",stroke:"currentColor","stroke-width":"1.6"}),u("path",{d:"M10 2.5a7.5 7.5 0 0 1 0 15z",fill:"currentColor"})]})})]})}),u("main",{class:"wide",id:`chapter-${x}-main`,children:[u("h1",{ref:b,tabIndex:-1,children:M}),u(K,{parts:w},x),T!==void 0&&u("p",{class:"onward",children:u("a",{href:`#chapter-${T}`,onClick:k=>{k.preventDefault(),l(`chapter-${T}`)},children:["Next: ",V[T].title]})})]}),u("footer",{class:"wide",children:u("p",{class:"facts",children:[t.facts.join(" \xB7 ")," \xB7 minifa ",t.version]})}),u("p",{class:"hush",role:"status",children:v}),u("dialog",{ref:_,"aria-label":i?`${i.name} as a table`:"Table",onClose:()=>f(null),children:i&&u(R,{children:[u("div",{class:"bar",children:[u("h2",{children:[i.name," ",u("span",{class:"soft",children:ye(i.array.shape)})]}),u(at,{icon:"close",label:"Close",onClick:()=>_.current?.close()})]}),u("p",{class:"soft",children:["from ",pt(i.array)]}),u(dt,{array:i.array})]})})]})})}function _t(t){return{kind:"baked",async film({rule:e}){let r=t.films[e];if(!r)throw new Error(`This page has no step of the rule ${e}.`);return r},async*run({rule:e}){yield*t.runs[e]??[]},can({rule:e}){return e in t.runs||`This page has no run of the rule ${e}.`}}}var ke={f4:Float32Array,f8:Float64Array};function Ce(t){return Uint8Array.from(atob(t),e=>e.charCodeAt(0)).buffer}var Se=class{shape;single;packed;decoded=null;most=null;constructor(e){this.packed=e,this.shape=e[0],this.single=e[1].endsWith("f4")}get values(){if(!this.decoded){let[,e,r,n]=this.packed;if(e.startsWith("u1")){let a=new ke[this.single?"f4":"f8"](Ce(n)),o=new Uint8Array(Ce(r));this.decoded=new ke[this.single?"f4":"f8"](o.length);for(let s=0;s<o.length;s++)this.decoded[s]=a[o[s]]}else this.decoded=new ke[e](Ce(r));this.packed=null}return this.decoded}get largest(){return this.most??=zt(this.values)}};function zt(t){let e=0;for(let r=0;r<t.length;r++){let n=Math.abs(t[r]);n>e&&n<1/0&&(e=n)}return e}function It(t){return t.map(e=>new Se(e))}var W=(t,e)=>Object.fromEntries(Object.entries(t).map(([r,n])=>[r,e(n)]));function Ot(t,e){let r=n=>n!==null&&typeof n=="object"?{...n,array:e[n.array]}:n;return t.map(n=>({...n,terms:W(n.terms,r),new:W(n.new,a=>e[a])}))}function Ft(t,e,r){let n=a=>({...a,array:e[a.array]});return{update:r,...t,layers:W(t.layers,a=>({...a,W:n(a.W)})),feedback:W(t.feedback,n)}}function ht(t){let e=It(t.arrays??[]);return{...t,films:W(t.films,r=>Ot(r,e)),runs:W(t.runs,r=>r.map((n,a)=>Ft(n,e,t.at[a]))),table:e}}var mt=`/* All rules hold inside .mf, so that a notebook's own style is left alone. */
body:has(> #page) { margin: 0; }
.mf {
  color-scheme: light dark;
  --page: light-dark(#faf8f4, #14171c);
  --card: light-dark(#ffffff, #1b1f26);
  --sunk: light-dark(#f2efe8, #101318);
  --line: light-dark(#dfdad0, #343b46);
  --edge: light-dark(#8a857a, #7d8694);
  --text: light-dark(#1c222b, #eceae5);
  --soft: light-dark(#545c69, #b3bac6);
  --accent: light-dark(#1f2a3a, #eceae5);
  --on-accent: light-dark(#ffffff, #14171c);
  --focus: light-dark(#0b5ea8, #7cc0ff);
  --activity: light-dark(#0b5ea8, #7cc0ff);
  --weight: light-dark(#17704a, #6fd3a0);
  --feedback: light-dark(#8030a0, #d9a2f2);
  --error: light-dark(#b03a0c, #ff9d6b);
  --truth: light-dark(#4d5868, #b9c3d0);
  --gradient: light-dark(#7d5a00, #e8c15a);
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, "Liberation Serif", serif;
  --math: "STIX Two Math", "STIX Two Text", "Cambria Math", Cambria, "Latin Modern Math", Georgia, "Liberation Serif", serif;
  min-height: 100vh;
  background: var(--page);
  color: var(--text);
  font: 16px/1.5 "Helvetica Neue", Helvetica, "Segoe UI", Roboto, Arial, sans-serif;
  font-variant-numeric: tabular-nums;
  -webkit-text-size-adjust: 100%;

  &[data-theme=light] { color-scheme: light; }
  &[data-theme=dark] { color-scheme: dark; }
  & *, & *::before, & *::after { box-sizing: border-box; }
  & :is(h1, h2, h3, h4, p, figure, ol, ul, fieldset, legend, table) { margin: 0; padding: 0; }
  & :is(ol, ul) { list-style: none; }
  & :is(button, select, input, textarea) { font: inherit; color: inherit; }
  & button { background: none; border: 0; padding: 0; cursor: pointer; }
  & button:disabled { opacity: 0.35; cursor: default; }
  & a { color: inherit; text-underline-offset: 3px; }
  & :focus-visible { outline: 2.5px solid var(--focus); outline-offset: 2px; border-radius: 4px; }
  & h1:focus { outline: none; }
  & .soft { color: var(--soft); }
  & .note { font-size: 13px; color: var(--soft); }
  & .hush { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  & .wide { max-width: 1240px; margin: 0 auto; padding: 0 20px; }

  /* Head */
  & header { border-bottom: 1px solid var(--line); background: var(--card); }
  & .head { display: flex; align-items: center; gap: 4px 28px; flex-wrap: wrap; min-height: 52px; }
  & .brand { font: 600 17px/1.2 var(--serif); }
  & nav { display: flex; flex-wrap: wrap; gap: 0 20px; flex: 1; }
  & nav a { padding: 14px 0 11px; border-bottom: 3px solid transparent; color: var(--soft); font-weight: 500; font-size: 15px; text-decoration: none; }
  & nav a:hover { color: var(--text); }
  & nav a[aria-current] { color: var(--text); border-color: var(--accent); }
  & .theme { padding: 8px; border-radius: 6px; line-height: 0; color: var(--soft); }
  & :is(.theme, .icon):hover { background: var(--sunk); }
  & main.wide { padding-top: 22px; padding-bottom: 26px; }
  & h1 { font: 600 30px/1.2 var(--serif); letter-spacing: -0.01em; margin-bottom: 8px; }
  & h2 { font: 600 21px/1.3 var(--serif); }
  & h3 { font: 600 16px/1.3 var(--serif); }
  & .lead { font: 19px/1.45 var(--serif); max-width: 68ch; margin-bottom: 16px; }
  & .story { font: 17.5px/1.4 var(--serif); max-width: 70ch; min-height: 2.8em; }
  & .card { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 18px 22px 20px; margin-bottom: 18px; min-width: 0; }
  & .bar { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; justify-content: space-between; margin-bottom: 12px; }
  & .row { display: flex; flex-wrap: wrap; gap: 18px 28px; align-items: flex-start; }
  & .onward { margin-top: 22px; font: 600 17px/1.3 var(--serif); }
  & footer.wide { padding-bottom: 20px; }
  & .facts { color: var(--soft); font-size: 13px; }

  /* Equations */
  & .eq { font-family: var(--math); font-size: 1.12em; }
  & .eq i { font-style: italic; }
  & :is(sub, sup) { font-size: 0.72em; line-height: 0; }
  & [data-role=activity] { --role: var(--activity); }
  & [data-role=weight] { --role: var(--weight); }
  & [data-role=feedback] { --role: var(--feedback); }
  & [data-role=error] { --role: var(--error); }
  & [data-role=truth] { --role: var(--truth); }
  & [data-role=gradient] { --role: var(--gradient); }
  & .symbol { color: var(--role, inherit); border-radius: 3px; }

  /* Matrices */
  & .matrix { min-width: 0; max-width: 100%; }
  & .matrix figcaption { font-size: 13px; line-height: 24px; white-space: nowrap; color: var(--soft); display: flex; gap: 8px; align-items: baseline; }
  & .matrix .name { font: 18px/24px var(--math); color: var(--role); min-width: 24px; min-height: 24px; text-decoration: underline dotted 1px; text-underline-offset: 4px; }
  & .scroll { overflow: auto; max-width: 100%; scrollbar-width: thin; }
  & .matrix .scroll { border: solid var(--role); border-width: 1px 2.5px; border-block-color: color-mix(in srgb, var(--line) 60%, transparent); border-radius: 4px; padding: 0 2px; width: fit-content; }
  & .field { position: relative; width: fit-content; touch-action: pan-x pan-y; cursor: crosshair; }
  & .field canvas { display: block; }
  & .mark { position: absolute; pointer-events: none; box-shadow: 0 0 0 2px var(--text), 0 0 0 3.5px var(--card); border-radius: 1px; }
  & .mark.band { box-shadow: 0 0 0 1.5px var(--text); }
  & .missing { display: grid; place-items: center; text-align: center; color: var(--soft); font-size: 13px; border-radius: 4px; background: repeating-linear-gradient(135deg, var(--sunk) 0 5px, var(--line) 5px 6.5px); }
  & .missing span { background: var(--card); padding: 1px 7px; border-radius: 4px; }
  & .nothing { min-width: 220px; min-height: 84px; }
  & table { border-collapse: collapse; font-size: 14px; }
  & :is(th, td) { padding: 3px 9px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }

  /* Angles */
  & .gauge { width: 176px; text-align: center; font-size: 13.5px; line-height: 1.35; }
  & .gauge svg { display: block; width: 100%; color: var(--text); }
  & .gauge .arc { fill: none; stroke: var(--line); stroke-width: 7; }
  & .gauge .band { fill: none; stroke: var(--soft); stroke-width: 17; opacity: 0.35; }
  & .gauge .part { fill: none; stroke: var(--feedback); stroke-width: 7; }
  & .gauge .needle { stroke: var(--text); stroke-width: 2.4; stroke-linecap: round; }
  & .gauge .other { fill: var(--card); stroke: var(--soft); stroke-width: 1.3; }
  & .gauge text { font-size: 11.5px; fill: var(--soft); text-anchor: middle; }
  & .gauge text.big { font: 600 21px var(--serif); fill: var(--text); }
  & .gauge p { color: var(--soft); }

  /* Charts */
  & .chart { min-width: 0; flex: 1 1 320px; }
  & .chart .title { font: 600 15px/1.3 var(--serif); margin-bottom: 4px; }
  & .chart svg { display: block; max-width: 100%; height: auto; touch-action: pan-y; }
  & .chart text { font-size: 12px; fill: var(--soft); }
  & .chart text.end { fill: var(--curve); }
  & .chart .grid { stroke: var(--line); stroke-width: 1; }
  & .chart .band { fill: var(--soft); opacity: 0.22; }
  & .chart .guide { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 4 4; }
  & .chart text.guide { stroke: none; }
  & .chart .curve { fill: none; stroke: var(--curve); stroke-width: 1.8; opacity: 0.8; }
  & .chart .marker { fill: var(--curve); stroke: var(--card); stroke-width: 1; }
  & .chart .leader { fill: none; stroke: var(--curve); stroke-width: 1; opacity: 0.6; }
  & .chart .this .curve { stroke-width: 3.2; opacity: 1; }
  & .chart .this text { font-weight: 700; }
  & .chart .cursor { stroke: var(--text); stroke-width: 1; }

  /* Controls */
  & .choice { display: inline-flex; flex-wrap: wrap; align-items: center; gap: 2px; padding: 3px; border: 0; border-radius: 10px; background: var(--sunk); min-width: 0; }
  & .choice legend:not(.hush) { float: left; padding: 0 8px 0 6px; font-size: 14px; color: var(--soft); }
  & .choice label { display: block; position: relative; cursor: pointer; }
  & .choice input { position: absolute; opacity: 0; inset: 0; margin: 0; cursor: pointer; }
  & .choice span { display: block; padding: 4px 13px; border-radius: 8px; color: var(--soft); font-weight: 500; border: 1px solid transparent; }
  & .choice label:hover span { color: var(--text); }
  & .choice input:checked + span { background: var(--card); color: var(--text); border-color: var(--edge); }
  & .choice input:focus-visible + span { outline: 2.5px solid var(--focus); outline-offset: 1px; }
  & .slider { display: grid; grid-template-columns: 1fr auto; gap: 0 12px; font-size: 15px; }
  & .slider output { font-weight: 600; }
  & .slider input { grid-column: 1 / -1; }
  & .slider .ends { grid-column: 1 / -1; display: flex; justify-content: space-between; font-size: 12.5px; color: var(--soft); }
  & input[type=range] { width: 100%; min-width: 60px; height: 28px; margin: 0; appearance: none; background: none; cursor: pointer; }
  & input[type=range]::-webkit-slider-runnable-track { height: 8px; border-radius: 4px; background: var(--track, var(--line)); border: 1px solid var(--edge); }
  & input[type=range]::-moz-range-track { height: 8px; border-radius: 4px; background: var(--track, var(--line)); border: 1px solid var(--edge); }
  & input[type=range]::-webkit-slider-thumb { appearance: none; width: 22px; height: 22px; margin-top: -8px; border-radius: 50%; background: var(--card); border: 4px solid var(--accent); }
  & input[type=range]::-moz-range-thumb { width: 14px; height: 14px; border-radius: 50%; background: var(--card); border: 4px solid var(--accent); }
  & .button { padding: 6px 16px; border: 1px solid var(--edge); border-radius: 9px; background: var(--card); font-weight: 600; min-height: 36px; }
  & .button:hover { background: var(--sunk); }
  & .button.main { background: var(--accent); color: var(--on-accent); border-color: var(--accent); }
  & .icon { width: 38px; height: 38px; border-radius: 50%; display: grid; place-items: center; flex: none; }
  & .icon svg { width: 18px; height: 18px; fill: currentColor; }
  & .icon.play { background: var(--accent); color: var(--on-accent); width: 44px; height: 44px; }
  & .icon.play:hover { background: var(--accent); opacity: 0.88; }
  & .player { display: flex; align-items: center; gap: 8px; }
  & .player .track { flex: 1; }
  & .player .where { min-width: 96px; font-size: 14px; text-align: right; }
  & dialog { border: 1px solid var(--line); border-radius: 14px; background: var(--card); color: var(--text); padding: 18px 20px; max-width: min(1100px, calc(100vw - 24px)); max-height: calc(100dvh - 24px); overflow: auto; }
  & dialog::backdrop { background: #0008; }
  & dialog .bar { flex-wrap: nowrap; }
  & dialog .scroll { max-height: 60vh; }

  @media (max-width: 820px) {
    & .wide { padding-left: 14px; padding-right: 14px; }
    & .card { padding: 14px; border-radius: 12px; }
    & h1 { font-size: 25px; }
    & .lead { font-size: 17.5px; }
    & nav { gap: 0 14px; order: 3; flex-basis: 100%; }
    & nav a { padding: 8px 0 7px; font-size: 14px; }
    & .head { padding-top: 6px; }
    & .brand { flex: 1; }
    & .player { flex-wrap: wrap; justify-content: center; }
    & .player .track { order: -2; flex-basis: calc(100% - 112px); }
    & .player .where { order: -1; }
  }
  @media (prefers-reduced-motion: reduce) { & * { animation: none !important; transition: none !important; } }
  @media (forced-colors: active) {
    & nav a { border-color: Canvas; }
    & nav a[aria-current] { border-color: Highlight; }
    & .choice input:checked + span { background: Highlight; color: HighlightText; forced-color-adjust: none; }
    & .icon.play { border: 2px solid ButtonText; }
    & :is(.gauge .arc, .gauge .band) { stroke: GrayText; }
    & :is(.gauge .needle, .gauge .part) { stroke: CanvasText; }
    & :is(canvas, .legend i) { forced-color-adjust: none; }
    & input[type=range]::-webkit-slider-runnable-track { background: Canvas; border-color: CanvasText; forced-color-adjust: none; }
    & input[type=range]::-webkit-slider-thumb { background: Highlight; border-color: CanvasText; forced-color-adjust: none; }
  }
}
`;function Wt(t){let e=document.createElement("style");e.textContent=mt,t.appendChild(e)}function Ut(){let e=new URLSearchParams(location.search).get("only")?.split(",").map(Number).filter(r=>Number.isInteger(r));return e?.length?e:void 0}function Xt(t,e,r,n,a){Oe(u(ft,{content:e,source:r,live:n,only:a}),t)}function jt(){let t=document.getElementById("data"),e=document.getElementById("page");if(!t||!e)return;Wt(document.head);let r=ht(JSON.parse(t.textContent??""));document.title=`${r.facts[0].split(",")[0]} \xB7 minifa explorer`,Xt(e,r,_t(r),"The engine in the page is not built yet.",Ut())}jt();export{Xt as mount};
